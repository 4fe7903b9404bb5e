# One certificate authority, every certificate and kubeconfig; made once per cluster. Sourced by ../cluster.
# shellcheck shell=bash

PKI=$STATE/pki
DAYS=3650

make_certificates() {
  [ -e "$PKI/done" ] && return
  mkdir -p "$PKI" "$(dirname "$KUBECONFIG_ADMIN")"
  chmod 700 "$PKI"
  make_authority
  local api_names="DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,DNS:localhost"
  certificate apiserver "/CN=kube-apiserver" serverAuth "$api_names,IP:127.0.0.1,IP:$API_IP,IP:$NODE_IP"
  certificate kubelet-serving "/CN=system:node:$NODE_NAME/O=system:nodes" serverAuth "DNS:$NODE_NAME,IP:$NODE_IP,IP:127.0.0.1"
  certificate apiserver-kubelet-client "/O=system:masters/CN=apiserver-kubelet-client" clientAuth
  certificate front-proxy-client "/CN=front-proxy-client" clientAuth
  certificate admin "/O=system:masters/CN=devcluster-admin" clientAuth
  certificate controller-manager "/CN=system:kube-controller-manager" clientAuth
  certificate scheduler "/CN=system:kube-scheduler" clientAuth
  certificate kube-proxy "/CN=system:kube-proxy" clientAuth
  certificate kubelet "/O=system:nodes/CN=system:node:$NODE_NAME" clientAuth
  for user in admin controller-manager scheduler kube-proxy kubelet; do kubeconfig "$user"; done
  touch "$PKI/done"
}

make_authority() {
  openssl ecparam -name prime256v1 -genkey -noout -out "$PKI/ca.key"
  openssl req -x509 -new -key "$PKI/ca.key" -days $DAYS -subj "/CN=devcluster" -out "$PKI/ca.crt" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign,digitalSignature
  # Signs the tokens of service accounts.
  openssl genrsa -out "$PKI/sa.key" 2048 2> /dev/null
  openssl rsa -in "$PKI/sa.key" -pubout -out "$PKI/sa.pub" 2> /dev/null
}

# certificate NAME SUBJECT USAGE [ALTERNATIVE NAMES]
certificate() {
  openssl ecparam -name prime256v1 -genkey -noout -out "$PKI/$1.key"
  {
    echo "keyUsage=critical,digitalSignature,keyEncipherment"
    echo "extendedKeyUsage=$3"
    [ -z "${4:-}" ] || echo "subjectAltName=$4"
  } > "$PKI/extensions"
  openssl req -new -key "$PKI/$1.key" -subj "$2" |
    openssl x509 -req -CA "$PKI/ca.crt" -CAkey "$PKI/ca.key" -CAcreateserial -days $DAYS -extfile "$PKI/extensions" -out "$PKI/$1.crt" 2> /dev/null
}

kubeconfig() {
  local file
  file=$(dirname "$KUBECONFIG_ADMIN")/$1.kubeconfig
  cat > "$file" << EOF
apiVersion: v1
kind: Config
clusters: [{name: devcluster, cluster: {server: "https://127.0.0.1:6443", certificate-authority-data: $(base64 -w0 "$PKI/ca.crt")}}]
users: [{name: $1, user: {client-certificate-data: $(base64 -w0 "$PKI/$1.crt"), client-key-data: $(base64 -w0 "$PKI/$1.key")}}]
contexts: [{name: devcluster, context: {cluster: devcluster, user: $1}}]
current-context: devcluster
EOF
  chmod 600 "$file"
}
