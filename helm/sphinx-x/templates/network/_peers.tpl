{{/* One egress rule: (dict "to" peers "ports" numbers); no peers means any address. */}}
{{- define "sphinx-x.egress" -}}
- ports:
    {{- range .ports }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  {{- with .to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "sphinx-x.egressDns" -}}
{{- $dns := .Values.networkPolicies.dns -}}
- ports:
    {{- range $dns.ports }}
    - {protocol: UDP, port: {{ . }}}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  {{- with $dns.to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "sphinx-x.egressMlflow" -}}
{{- if .Values.mlflow.server.enabled }}
- ports:
    - {protocol: TCP, port: {{ .Values.mlflow.server.port }}}
  to:
    - podSelector:
        matchLabels:
          {{- include "sphinx-x.selector" (dict "root" . "component" "mlflow") | nindent 10 }}
{{- else }}
{{ include "sphinx-x.egress" .Values.networkPolicies.mlflow }}
{{- end }}
{{- end }}
