# Container images without a registry: packed from the binaries, imported into containerd. Sourced by ../cluster.
# shellcheck shell=bash

build_images() {
  mkdir -p "$IMAGES"
  pack pause "$PAUSE_IMAGE" 65535 "$BIN/pause:/pause"
  pack coredns "$COREDNS_IMAGE" 0 "$BIN/coredns:/coredns"
  pack jobset "$JOBSET_IMAGE" 65532 "$BIN/jobset-manager:/manager"
  pack trainer "$TRAINER_IMAGE" 65532 "$BIN/trainer-manager:/manager"
  [ -e "$IMAGES/s3proxy.tar" ] || with_progress "image of the S3 server" "$LOGS/build-s3proxy.log" build_s3proxy_image
}

# pack FILE IMAGE USER SOURCE:TARGET: one static binary, which is also the entrypoint.
pack() {
  [ -e "$IMAGES/$1.tar" ] || python3 "$HERE/mkimage.py" "$IMAGES/$1.tar" "$2" --user "$3:$3" --file "$4" --entrypoint "${4##*:}"
}

# S3Proxy is Java: its jars from Maven Central, checked against jars.sha256, on this machine's own Java runtime.
build_s3proxy_image() {
  local root=$PARTS/s3proxy-root
  rm -rf "$root"
  mkdir -p "$root/opt/s3proxy" "$root/etc"
  mvn --batch-mode --quiet --file "$HERE/s3proxy/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$root/opt/s3proxy" &&
    (cd "$root/opt/s3proxy" && sha256sum --quiet --strict --check "$HERE/s3proxy/jars.sha256") &&
    cp "$HERE/s3proxy/logback.xml" "$root/opt/s3proxy/" &&
    copy_java "$root" &&
    echo 'nonroot:x:65532:65532::/tmp:/bin/false' > "$root/etc/passwd" &&
    python3 "$HERE/mkimage.py" "$IMAGES/s3proxy.tar" "$S3PROXY_IMAGE" --user 65532:65532 --tree "$root" --entrypoint /opt/java/bin/java &&
    rm -rf "$root"
}

# The Java runtime and the shared libraries it is linked against, symbolic links resolved.
copy_java() {
  local home library
  home=$(dirname "$(dirname "$(readlink -f "$(command -v java)")")")
  mkdir -p "$1/opt/java/bin"
  cp -L "$home/bin/java" "$1/opt/java/bin/"
  # Debian's package links to documentation and sources that need not be there.
  cp -rL "$home/lib" "$home/conf" "$1/opt/java/" 2> /dev/null || [ -e "$1/opt/java/lib/modules" ]
  rm -f "$1/opt/java/lib/src.zip" "$1/opt/java/lib/ct.sym"
  find "$home/bin/java" "$home/lib/server/libjvm.so" "$home/lib/"lib{java,zip,net,nio,jli,management,management_ext,extnet,prefs}.so -print0 |
    xargs -0 ldd 2> /dev/null | grep -o '/[^ :)]*' | grep -v "^$home" | sort -u | while read -r library; do
    mkdir -p "$1$(dirname "$library")" && cp -L "$library" "$1$library"
  done
}

# In the cluster's namespaces: import an archive unless the store holds its images already. The stamp lists them, since the kubelet
# deletes images where the disk runs full.
import_image() {
  local stamp
  stamp=$IMAGE_STORE/imported/$(basename "$1" .tar)-$(stat -c '%s-%Y' "$1")
  [ -s "$stamp" ] && [ -z "$(sort "$stamp" | comm -23 - <(containerctl images list --quiet | sort))" ] && return
  mkdir -p "$(dirname "$stamp")"
  rm -f "$IMAGE_STORE/imported/$(basename "$1" .tar)"-[0-9]*-[0-9]*
  containerctl images import --all-platforms "$1" > "$stamp.log" 2>> "$LOGS/images.log" ||
    containerctl images import "$1" > "$stamp.log" || die "the image archive $1 cannot be imported; see $LOGS/images.log."
  awk '$1 == "unpacking" { print $2 }' "$stamp.log" > "$stamp"
  rm "$stamp.log"
}

build_project_images() {
  say "  $(elapsed)  our images (infra/images/build.sh)"
  "$HERE/../images/build.sh" 9>&- || die "our images could not be built; \`cluster up\` starts the cluster without them."
}

# Our own images, where infra/images/build.sh has made them; only the layers that the store lacks are carried, and then lie on the
# disk once, for layout and store. A build that is going on beside this changes the layout: then the image of before stays in use.
import_project_images() {
  local layout=$CACHE/images/layout name failed=0
  local import=(python3 "$HERE/../images/import.py" --share "$IMAGE_STORE/containerd" "$layout")
  for name in $OPS_IMAGE $TRAIN_IMAGE; do
    grep -qs "\"$name\"" "$layout/index.json" || continue
    if "${import[@]}" "$name" ctr --address "$CONTAINERD_SOCKET" --namespace k8s.io > "$LOGS/import.log" 2>&1; then
      say "  $(elapsed)  image $name"
    else
      say "  $(elapsed)  the image $name could not be imported (see $LOGS/import.log); \`cluster load\` tries again."
      failed=1
    fi
  done
  return $failed
}

containerctl() { ctr --address "$CONTAINERD_SOCKET" --namespace k8s.io "$@"; }

has_image() { containerctl images ls -q "name==$1" | grep -q .; }

load_files() {
  local file
  [ $# -gt 0 ] || enter "$HERE/cluster" _import
  for file in "$@"; do
    [ -f "$file" ] || die "load: there is no file $file."
    enter "$HERE/cluster" _load "$(readlink -f "$file")"
    say "  $(elapsed)  loaded $file"
  done
}
