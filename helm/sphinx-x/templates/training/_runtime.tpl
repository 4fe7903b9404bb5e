{{/* Specification of a TrainingRuntime: (dict "root" $ "size" the variant's entry) */}}
{{- define "sphinx-x.runtimeSpec" -}}
mlPolicy:
  numNodes: {{ .size.numNodes }}
  torch: {}
template:
  spec:
    # No ttlSecondsAfterFinished: Trainer 2.3 runs a failed job again when its JobSet goes.
    failurePolicy:
      maxRestarts: {{ ternary .size.maxRestarts .root.Values.training.maxRestarts (hasKey .size "maxRestarts") }}
      restartStrategy: BlockingRecreate
      rules:
        # Nothing to gain from another try: bad configuration, bad data.
        - name: final
          action: FailJobSet
          onJobFailureReasons: [PodFailurePolicy]
          onJobFailureMessagePatterns: ["exit code 64 "]
        # A lost node, an eviction, a request to stop: again, and not at the cost of the budget for crashes.
        - name: disrupted
          action: RestartJobSetAndIgnoreMaxRestarts
          onJobFailureReasons: [PodFailurePolicy]
    replicatedJobs:
      - name: node
        template:
          metadata:
            labels: {trainer.kubeflow.org/trainjob-ancestor-step: trainer}
          spec:
            backoffLimit: 0
            podFailurePolicy:
              rules:
                - action: FailJob
                  onExitCodes: {containerName: node, operator: In, values: [64]}
                - action: FailJob
                  onPodConditions: [{type: DisruptionTarget, status: "True"}]
                - action: FailJob
                  onExitCodes: {containerName: node, operator: In, values: [143]}
            template:
              {{- include "sphinx-x.trainNode" . | nindent 14 }}
{{- end }}

{{- define "sphinx-x.runtimeLabels" -}}
{{ include "sphinx-x.labels" .root }}
app.kubernetes.io/component: runtime
sphinx-x/variant: {{ .variant }}
trainer.kubeflow.org/framework: torch
{{- end }}
