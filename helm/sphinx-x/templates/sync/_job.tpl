{{/* A hook Job that runs `sphinx-x sync`: (dict "root" $ "hook" "post-install,…" "arguments" (list …) "backoffLimit" 3)
Both hooks have one name, so that the one before uninstalling also clears away what a failed one left behind. */}}
{{- define "sphinx-x.syncJob" -}}
{{- $who := dict "root" .root "component" "sync" -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: sphinx-x-sync
  labels:
    {{- include "sphinx-x.labels" .root | nindent 4 }}
    app.kubernetes.io/component: sync
  annotations:
    helm.sh/hook: {{ .hook }}
    helm.sh/hook-delete-policy: {{ .deletePolicy }}
    # Helm 3.18 and newer show why it failed.
    helm.sh/hook-output-log-policy: hook-failed
spec:
  backoffLimit: {{ .backoffLimit }}
  podFailurePolicy:
    rules:
      # The program has said in a sentence what is wrong: another try would say it again.
      - action: FailJob
        onExitCodes: {containerName: sync, operator: In, values: [2]}
      - action: Ignore
        onPodConditions: [{type: DisruptionTarget}]
  activeDeadlineSeconds: {{ .seconds }}
  ttlSecondsAfterFinished: 3600
  template:
    metadata:
      {{- include "sphinx-x.podMetadata" $who | nindent 6 }}
    spec:
      {{- include "sphinx-x.podDefaults" .root | nindent 6 }}
      serviceAccountName: {{ ternary (include "sphinx-x.pipelinesServiceAccount" .root) "sphinx-x-sync" .root.Values.kfp.multiUser }}
      automountServiceAccountToken: false
      restartPolicy: Never
      containers:
        - name: sync
          {{- include "sphinx-x.opsContainer" .root | nindent 10 }}
          command: {{ concat (list "sphinx-x" "sync" "--config" "/etc/sphinx-x/sync.yaml") .arguments | toJson }}
          env:
            {{- include "sphinx-x.commonEnv" .root | nindent 12 }}
          resources:
            {{- toYaml .root.Values.kfp.sync.resources | nindent 12 }}
          volumeMounts:
            - {name: tmp, mountPath: /tmp}
            - {name: config, mountPath: /etc/sphinx-x, readOnly: true}
            {{- include "sphinx-x.kfpMounts" .root | trim | nindent 12 }}
      volumes:
        - name: tmp
          emptyDir: {sizeLimit: 256Mi}
        - name: config
          configMap: {name: sphinx-x-sync}
        {{- include "sphinx-x.kfpVolumes" .root | trim | nindent 8 }}
{{- end }}
