#!/usr/bin/env bash
# What runs inside the cluster that eks/ makes: device plugins, autoscaler, JobSet, Trainer, then the chart sphinx-x.
#
#   install.sh [--print] [--with-dcgm] [--outputs FILE] [-- CHART OPTIONS]
#
# Run it in the folder of your Terraform root (examples/small, say) after `terraform apply`; it reads `terraform output -json all`.
#   --print         show the commands and run none
#   --with-dcgm     also install NVIDIA's DCGM exporter, for the GPU dashboard; needs the Prometheus operator
#   --outputs FILE  read the outputs from a file instead
#   --              what follows goes to the chart: --set images.ops.digest=… --set mlflow.trackingUri=… -f values.yaml
# Kubeflow Pipelines comes from Kubeflow's own manifests, before this script (README.md). Running it again changes nothing that fits.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=versions.env
source "$here/versions.env"

fail() { echo "install.sh: $*" >&2; exit 2; }

print=false with_dcgm=false outputs_file="" chart_options=()
while [ $# -gt 0 ]; do
  case $1 in
    --print) print=true ;;
    --with-dcgm) with_dcgm=true ;;
    --outputs) outputs_file=${2:-}; [ -n "$outputs_file" ] || fail "--outputs needs a file."; shift ;;
    --) shift; chart_options=("$@"); break ;;
    -h | --help) sed -n '2,13s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) fail "unknown option $1; see --help." ;;
  esac
  shift
done

needed=(jq)
$print || needed+=(aws kubectl helm)
[ -n "$outputs_file" ] || needed+=(terraform)
for tool in "${needed[@]}"; do
  command -v "$tool" >/dev/null || fail "$tool is not on the PATH; install it and run again."
done

if [ -n "$outputs_file" ]; then
  outputs=$(cat "$outputs_file") || fail "$outputs_file cannot be read."
else
  outputs=$(terraform output -json all) || fail "terraform output has no \"all\" here; run this in the folder of your Terraform root, after terraform apply."
fi
value() { jq -er "$1" <<<"$outputs" || fail "the outputs lack $1; is the root's output \"all\" the module eks?"; }

run() {
  printf '+'; printf ' %q' "$@"; echo
  $print || "$@"
}
chart() { # release, namespace, then helm's arguments
  local release=$1 namespace=$2
  shift 2
  run helm upgrade --install "$release" --namespace "$namespace" --create-namespace --wait --timeout 10m "$@"
}

# All at once, so that a missing one is said before anything is installed.
cluster=$(value .cluster_name)
region=$(value .region)
store=$(value .store_uri)
registry=$(value .registries.ops)
efas=$(value '[.efa_interfaces[]] | add // 0')
training=$(value '.service_accounts.training[0]') # namespace:name, as the role trusts it
pipelines=$(value '.service_accounts.pipelines[]')
role_of_autoscaler=$(value .role_arns.autoscaler)
role_of_pipelines=$(value .role_arns.pipelines)
role_of_training=$(value .role_arns.training)
role_of_mlflow=$(value .role_arns.mlflow)

run aws eks update-kubeconfig --region "$region" --name "$cluster"

chart nvidia-device-plugin nvidia-device-plugin nvidia-device-plugin \
  --repo https://nvidia.github.io/k8s-device-plugin --version "$NVIDIA_DEVICE_PLUGIN"

if [ "$efas" != 0 ]; then
  chart aws-efa-k8s-device-plugin kube-system aws-efa-k8s-device-plugin \
    --repo https://aws.github.io/eks-charts --version "$EFA_DEVICE_PLUGIN" \
    --set-json 'tolerations=[{"key":"nvidia.com/gpu","operator":"Exists","effect":"NoSchedule"}]'
fi

# Nodes that train are never taken away; GPU nodes go ten minutes after their last pod.
chart cluster-autoscaler kube-system cluster-autoscaler \
  --repo https://kubernetes.github.io/autoscaler --version "$CLUSTER_AUTOSCALER" \
  --set autoDiscovery.clusterName="$cluster" --set awsRegion="$region" \
  --set rbac.serviceAccount.name=cluster-autoscaler \
  --set "rbac.serviceAccount.annotations.eks\.amazonaws\.com/role-arn=$role_of_autoscaler" \
  --set extraArgs.balance-similar-node-groups=false --set-string extraArgs.scale-down-unneeded-time=10m

chart jobset jobset-system oci://registry.k8s.io/jobset/charts/jobset --version "$JOBSET"
# The status gate lets the trainer write its progress into the TrainJob, which runs, dashboards and `sphinx-x logs` show.
chart kubeflow-trainer kubeflow-system oci://ghcr.io/kubeflow/charts/kubeflow-trainer --version "$TRAINER" \
  --set jobset.install=false --set manager.config.featureGates.TrainJobStatus=true

if $with_dcgm; then
  chart dcgm-exporter dcgm-exporter dcgm-exporter \
    --repo https://nvidia.github.io/dcgm-exporter/helm-charts --version "$DCGM_EXPORTER" --set serviceMonitor.honorLabels=true \
    --set-json 'tolerations=[{"key":"nvidia.com/gpu","operator":"Exists","effect":"NoSchedule"}]' \
    --set-json 'nodeSelector={"nvidia.com/gpu.present":"true"}'
fi

# Pipelines' pods run under an account of Kubeflow's own; only its role is ours.
for pair in $pipelines; do
  run kubectl annotate serviceaccount --overwrite --namespace "${pair%%:*}" "${pair##*:}" \
    "eks.amazonaws.com/role-arn=$role_of_pipelines"
done

chart sphinx-x "${training%%:*}" "$here/../../helm/sphinx-x" \
  --set images.registry="${registry%/*}" --set store.uri="$store" --set s3.region="$region" \
  --set training.gpusAutoscaled=true \
  --set training.serviceAccount.name="${training##*:}" \
  --set "training.serviceAccount.annotations.eks\.amazonaws\.com/role-arn=$role_of_training" \
  --set "mlflow.server.serviceAccountAnnotations.eks\.amazonaws\.com/role-arn=$role_of_mlflow" \
  ${chart_options[@]+"${chart_options[@]}"}
