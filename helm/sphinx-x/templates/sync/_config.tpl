{{/* What `sphinx-x sync` and `sphinx-x doctor` read; its fields are those of pipelines/cluster/config.py. */}}
{{- define "sphinx-x.syncConfig" -}}
release: {{ .Release.Name }}
namespace: {{ .Release.Namespace }}
kubeflow:
  endpoint: {{ .Values.kfp.endpoint | quote }}
  multi_user: {{ .Values.kfp.multiUser }}
  token_file: {{ ternary "/var/run/secrets/kubeflow/pipelines/token" "" .Values.kfp.multiUser | quote }}
  ca_file: {{ ternary (printf "/etc/kfp-ca/%s" .Values.kfp.ca.key) "" (ne .Values.kfp.ca.configMap "") | quote }}
  ui_url: {{ .Values.kfp.uiUrl | quote }}
  wait_seconds: {{ .Values.kfp.sync.waitSeconds }}
images:
  ops: {{ include "sphinx-x.image" (dict "root" . "which" "ops") }}
  train: {{ include "sphinx-x.image" (dict "root" . "which" "train") }}
settings_config_map: sphinx-x-settings
secrets:
  {{- with .Values.s3.existingSecret }}
  {{- if .name }}
  s3:
    name: {{ .name }}
    keys: {AWS_ACCESS_KEY_ID: {{ .accessKeyIdKey | quote }}, AWS_SECRET_ACCESS_KEY: {{ .secretAccessKeyKey | quote }}}
  {{- else }}
  s3: null
  {{- end }}
  {{- end }}
  {{- with .Values.mlflow.existingSecret }}
  {{- if .name }}
  mlflow:
    name: {{ .name }}
    keys: {MLFLOW_TRACKING_USERNAME: {{ .usernameKey | quote }}, MLFLOW_TRACKING_PASSWORD: {{ .passwordKey | quote }}}
  {{- else }}
  mlflow: null
  {{- end }}
  {{- end }}
service_account: {{ include "sphinx-x.pipelinesServiceAccount" . }}
experiment: {{ .Values.kfp.experiment }}
upload: {{ eq .Values.kfp.mode "rest" }}
defaults: {{ toJson .Values.kfp.defaults }}
wait_for_runs_seconds: {{ .Values.kfp.sync.waitForRunsSeconds }}
schedules: {{ toJson .Values.schedules }}
{{- end }}
