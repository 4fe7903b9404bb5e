{{/* Pod of a training node: (dict "root" $ "size" the variant's entry) */}}
{{- define "sphinx-x.trainNode" -}}
{{- $training := .root.Values.training -}}
{{- $port := int .root.Values.monitoring.metricsPort -}}
metadata:
  labels:
    app.kubernetes.io/name: sphinx-x
    app.kubernetes.io/managed-by: sphinx-x
    app.kubernetes.io/component: train-node
    {{- if .root.Values.kfp.multiUser }}
    sidecar.istio.io/inject: "false"
    {{- end }}
    {{- with .root.Values.extraLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $training.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: {{ $training.terminationGracePeriodSeconds }}
  serviceAccountName: {{ $training.serviceAccount.name }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  securityContext:
    {{- include "sphinx-x.podSecurityContext" .root | nindent 4 }}
  {{- include "sphinx-x.imagePullSecrets" .root | nindent 2 }}
  {{- with $training.scheduling.schedulerName }}
  schedulerName: {{ . }}
  {{- end }}
  {{- with $training.scheduling.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with merge (dict) (.size.nodeSelector | default dict) $training.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with concat $training.tolerations (.size.tolerations | default list) }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $training.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: node
      image: {{ include "sphinx-x.image" (dict "root" .root "which" "train") }}
      imagePullPolicy: {{ .root.Values.images.pullPolicy }}
      terminationMessagePolicy: FallbackToLogsOnError
      securityContext:
        {{- include "sphinx-x.containerSecurityContext" .root | nindent 8 }}
      envFrom:
        - configMapRef: {name: sphinx-x-settings}
      env:
        - name: SPHINX_X_ATTEMPT
          valueFrom: {fieldRef: {fieldPath: "metadata.labels['jobset.sigs.k8s.io/restart-attempt']"}}
        - {name: HOME, value: /tmp}
        {{- if $port }}
        - {name: SPHINX_X_METRICS_PORT, value: {{ $port | quote }}}
        {{- end }}
        {{- include "sphinx-x.s3Env" .root | trim | nindent 8 }}
        {{- include "sphinx-x.mlflowEnv" .root | trim | nindent 8 }}
        {{- include "sphinx-x.huggingfaceEnv" .root | trim | nindent 8 }}
        {{- range $name, $value := merge (dict) (.size.env | default dict) $training.env }}
        - {name: {{ $name }}, value: {{ $value | quote }}}
        {{- end }}
        {{- with $training.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- if $port }}
      ports:
        - {name: metrics, containerPort: {{ $port }}}
      {{- end }}
      resources:
        {{- $resources := deepCopy .size.resources }}
        {{- if gt (int .size.gpus) 0 }}
        {{- /* A limit alone, which is its own request: the launcher's number of GPUs then replaces it whole. */}}
        {{- $resources = merge (dict "limits" (dict "nvidia.com/gpu" (.size.gpus | toString))) $resources }}
        {{- end }}
        {{- toYaml $resources | nindent 8 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        - {name: shm, mountPath: /dev/shm}
  volumes:
    - name: tmp
      emptyDir: {sizeLimit: {{ .size.scratchSize }}}
    - name: shm
      emptyDir: {medium: Memory, sizeLimit: {{ .size.shmSize }}}
{{- end }}
