{{/* Every name that a client may call the server by. It compares the Host header with these letter by letter, port included, and answers
403 to others, while /health goes on saying OK. */}}
{{- define "sphinx-x.mlflowAllowedHosts" -}}
{{- $port := int .Values.mlflow.server.port -}}
{{- $names := list "localhost" "127.0.0.1" "sphinx-x-mlflow" (printf "sphinx-x-mlflow.%s" .Release.Namespace) (printf "sphinx-x-mlflow.%s.svc" .Release.Namespace) (printf "sphinx-x-mlflow.%s.svc.cluster.local" .Release.Namespace) -}}
{{- $hosts := list -}}
{{- range $names -}}
{{- $hosts = concat $hosts (list . (printf "%s:%d" . $port)) -}}
{{- end -}}
{{- concat $hosts .Values.mlflow.server.extraAllowedHosts | join "," -}}
{{- end }}

{{- define "sphinx-x.mlflowDatabaseEnv" -}}
{{- with .Values.mlflow.server.database.existingSecret }}
{{- if .name -}}
- name: MLFLOW_BACKEND_STORE_URI
  valueFrom: {secretKeyRef: {name: {{ .name }}, key: {{ .uriKey }}}}
{{- else -}}
- {name: MLFLOW_BACKEND_STORE_URI, value: "sqlite:////data/mlflow.db"}
{{- end }}
{{- end }}
{{- end }}

{{/* An API call through the Service's name: what a client does, the check of the Host header included. */}}
{{- define "sphinx-x.mlflowProbe" -}}
httpGet:
  path: /api/2.0/mlflow/experiments/search?max_results=1
  port: http
  httpHeaders:
    - {name: Host, value: "sphinx-x-mlflow.{{ .Release.Namespace }}.svc:{{ .Values.mlflow.server.port }}"}
timeoutSeconds: 10
{{- end }}
