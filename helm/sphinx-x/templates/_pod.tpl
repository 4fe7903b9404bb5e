{{/* What all pods share: another user than root, nothing writable but /tmp, credentials by reference. */}}

{{- define "sphinx-x.podSecurityContext" -}}
runAsNonRoot: true
{{- range $key, $id := .Values.podSecurity }}
{{- if not (kindIs "invalid" $id) }}
{{ $key }}: {{ int64 $id }}
{{- end }}
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "sphinx-x.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Pod fields of all but the training nodes */}}
{{- define "sphinx-x.podDefaults" -}}
enableServiceLinks: false
securityContext:
  {{- include "sphinx-x.podSecurityContext" . | nindent 2 }}
{{- include "sphinx-x.imagePullSecrets" . }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "sphinx-x.imagePullSecrets" -}}
{{- with .Values.global.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* An ops container's fields but name, command, resources and mounts of its own */}}
{{- define "sphinx-x.opsContainer" -}}
image: {{ include "sphinx-x.image" (dict "root" . "which" "ops") }}
imagePullPolicy: {{ .Values.images.pullPolicy }}
terminationMessagePolicy: FallbackToLogsOnError
securityContext:
  {{- include "sphinx-x.containerSecurityContext" . | nindent 2 }}
{{- end }}

{{- define "sphinx-x.commonEnv" -}}
- {name: HOME, value: /tmp}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "sphinx-x.secretEnv" -}}
- name: {{ .env }}
  valueFrom: {secretKeyRef: {name: {{ .secret }}, key: {{ .key }}, optional: true}}
{{- end }}

{{/* Credentials by Secret and key, optional: a pod without them says so in a sentence, one that waits for a Secret says nothing. */}}
{{- define "sphinx-x.s3Env" -}}
{{- with .Values.s3.existingSecret }}
{{- if .name }}
{{ include "sphinx-x.secretEnv" (dict "env" "AWS_ACCESS_KEY_ID" "secret" .name "key" .accessKeyIdKey) }}
{{ include "sphinx-x.secretEnv" (dict "env" "AWS_SECRET_ACCESS_KEY" "secret" .name "key" .secretAccessKeyKey) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "sphinx-x.mlflowEnv" -}}
{{- with .Values.mlflow.existingSecret }}
{{- if .name }}
{{ include "sphinx-x.secretEnv" (dict "env" "MLFLOW_TRACKING_USERNAME" "secret" .name "key" .usernameKey) }}
{{ include "sphinx-x.secretEnv" (dict "env" "MLFLOW_TRACKING_PASSWORD" "secret" .name "key" .passwordKey) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "sphinx-x.huggingfaceEnv" -}}
{{- with .Values.huggingface.existingSecret }}
{{- if .name }}
{{ include "sphinx-x.secretEnv" (dict "env" "HF_TOKEN" "secret" .name "key" .tokenKey) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Kubeflow with profiles takes a service account's token of this audience. */}}
{{- define "sphinx-x.kfpMounts" -}}
{{- if .Values.kfp.multiUser }}
- {name: kfp-token, mountPath: /var/run/secrets/kubeflow/pipelines, readOnly: true}
{{- end }}
{{- if .Values.kfp.ca.configMap }}
- {name: kfp-ca, mountPath: /etc/kfp-ca, readOnly: true}
{{- end }}
{{- end }}

{{- define "sphinx-x.kfpVolumes" -}}
{{- if .Values.kfp.multiUser }}
- name: kfp-token
  projected:
    sources:
      - serviceAccountToken: {path: token, audience: pipelines.kubeflow.org, expirationSeconds: 7200}
{{- end }}
{{- if .Values.kfp.ca.configMap }}
- name: kfp-ca
  configMap: {name: {{ .Values.kfp.ca.configMap }}}
{{- end }}
{{- end }}
