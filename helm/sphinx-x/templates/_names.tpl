{{/* Names, labels and images. Names are fixed: the launcher and the compiled pipelines know them (components/shared/platform.py). */}}

{{- define "sphinx-x.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: sphinx-x
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.extraLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What never changes and so may select pods: (dict "root" $ "component" "reaper") */}}
{{- define "sphinx-x.selector" -}}
app.kubernetes.io/name: sphinx-x
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Labels and annotations of a pod that is no training node: (dict "root" $ "component" "reaper") */}}
{{- define "sphinx-x.podMetadata" -}}
labels:
  {{- include "sphinx-x.selector" . | nindent 2 }}
  {{- if .root.Values.kfp.multiUser }}
  # A profile's namespace injects Istio's proxy, which would keep a Job from ending.
  sidecar.istio.io/inject: "false"
  {{- end }}
  {{- with .root.Values.extraLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .root.Values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* (dict "root" $ "which" "ops") */}}
{{- define "sphinx-x.image" -}}
{{- $image := index .root.Values.images .which -}}
{{- $registry := coalesce .root.Values.global.imageRegistry .root.Values.images.registry | default "" -}}
{{- $name := printf "%s/%s" (trimSuffix "/" $registry) $image.repository -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .root.Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end }}

{{- define "sphinx-x.pipelinesServiceAccount" -}}
{{- .Values.pipelines.serviceAccount.name | default (ternary "default-editor" "pipeline-runner" .Values.kfp.multiUser) -}}
{{- end }}

{{- define "sphinx-x.trackingUri" -}}
{{- if .Values.mlflow.server.enabled -}}
{{- printf "http://sphinx-x-mlflow.%s.svc:%d" .Release.Namespace (int .Values.mlflow.server.port) -}}
{{- else -}}
{{- .Values.mlflow.trackingUri -}}
{{- end -}}
{{- end }}

{{/* Environment of every pod of ours, as a map; a name without a value is left out, since an empty AWS_ENDPOINT_URL is not none. */}}
{{- define "sphinx-x.settings" -}}
{{- $training := .Values.training -}}
{{- $kueue := eq $training.scheduling.mode "kueue" -}}
{{- $all := dict
  "AWS_ENDPOINT_URL" .Values.s3.endpointUrl
  "AWS_REGION" .Values.s3.region
  "MLFLOW_TRACKING_URI" (include "sphinx-x.trackingUri" .)
  "MLFLOW_EXPERIMENT_NAME" .Values.mlflow.experimentName
  "SPHINX_X_STORE" .Values.store.uri
  "SPHINX_X_QUEUE" (ternary $training.scheduling.localQueue "" $kueue)
  "SPHINX_X_TRAIN_DEADLINE_HOURS" ($training.deadlineHours | toString)
  "SPHINX_X_MLFLOW_UI" .Values.mlflow.uiUrl
  "SPHINX_X_KUBEFLOW_UI" .Values.kfp.uiUrl
  "SPHINX_X_TRAINJOB_UI" .Values.training.uiUrl
  "SPHINX_X_GPUS_AUTOSCALED" (ternary "true" "" $training.gpusAutoscaled)
  "SPHINX_X_GPU_MEMORY_GB" (ternary ($training.gpuMemoryGb | toString) "" (gt (float64 $training.gpuMemoryGb) 0.0))
-}}
{{- range $name, $value := $all }}
{{- if $value }}
{{ $name }}: {{ $value | quote }}
{{- end }}
{{- end }}
{{- end }}
