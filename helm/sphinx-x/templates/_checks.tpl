{{/* Everything that is wrong with the values or missing in the cluster, as one message: a person mends it in one go. */}}
{{- define "sphinx-x.problems" -}}
{{- $values := .Values -}}
{{- if not (coalesce $values.global.imageRegistry $values.images.registry) }}
- images.registry is empty: set it to the registry that both images were pushed to (infra/images/README.md).
{{- end }}
{{- if not $values.store.uri }}
- store.uri is empty: set it to the place for corpora, checkpoints and models, such as s3://bucket/sphinx-x.
{{- end }}
{{- if and $values.mlflow.server.enabled $values.mlflow.trackingUri }}
- mlflow.trackingUri and mlflow.server.enabled are both set: name your MLflow server, or let the chart run one, not both.
{{- else if not (or $values.mlflow.server.enabled $values.mlflow.trackingUri) }}
- mlflow.trackingUri is empty: set it to your MLflow server, or set mlflow.server.enabled=true for a small one.
{{- end }}
{{- if and (eq $values.training.scheduling.mode "kueue") (not $values.training.scheduling.localQueue) }}
- training.scheduling.localQueue is empty: name Kueue's LocalQueue in namespace {{ .Release.Namespace }}, or set training.scheduling.mode=none.
{{- end }}
{{- if and $values.monitoring.podMonitor.enabled (eq (int $values.monitoring.metricsPort) 0) }}
- monitoring.podMonitor.enabled needs a port to read: set monitoring.metricsPort, such as 9464.
{{- end }}
{{- if and (eq $values.kfp.mode "none") $values.schedules }}
- schedules are given, but kfp.mode is none: schedules are Kubeflow's; set kfp.mode to rest or kubernetes, or remove them.
{{- end }}
{{- if $values.networkPolicies.enabled }}
{{- $mlflow := ternary "" $values.mlflow.trackingUri $values.mlflow.server.enabled }}
{{- $kfp := ternary "" $values.kfp.endpoint (eq $values.kfp.mode "none") }}
{{- range $name, $url := dict "s3" $values.s3.endpointUrl "mlflow" $mlflow "kfp" $kfp }}
{{- if $url }}
{{- $parts := urlParse $url }}
{{- $port := regexFind ":[0-9]+$" $parts.host | trimPrefix ":" | default (ternary "443" "80" (eq $parts.scheme "https")) }}
{{- $ports := list }}
{{- range (index $values.networkPolicies $name).ports }}{{ $ports = append $ports (toString .) }}{{ end }}
{{- if not (has $port $ports) }}
- networkPolicies.{{ $name }}.ports lacks {{ $port }}, so {{ $url }} would be out of reach: add the port.
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if $values.trainer.check }}
{{- if not (.Capabilities.APIVersions.Has "trainer.kubeflow.org/v1alpha1/TrainingRuntime") }}
- this cluster has no Kubeflow Trainer (kind TrainingRuntime, trainer.kubeflow.org/v1alpha1): install Trainer 2.2 or newer with JobSet first (https://www.kubeflow.org/docs/components/trainer/operator-guides/installation/), or set trainer.check=false to render without a cluster.
{{- end }}
{{- if and (eq $values.kfp.mode "kubernetes") (not (.Capabilities.APIVersions.Has "pipelines.kubeflow.org/v2beta1/PipelineVersion")) }}
- kfp.mode is kubernetes, but this cluster has no kind PipelineVersion (pipelines.kubeflow.org/v2beta1): install Kubeflow Pipelines with --pipelinesStoreKubernetes, or set kfp.mode=rest.
{{- end }}
{{- if and (or $values.monitoring.prometheusRule.enabled $values.monitoring.podMonitor.enabled) (not (.Capabilities.APIVersions.Has "monitoring.coreos.com/v1/PrometheusRule")) }}
- monitoring asks for a PrometheusRule or PodMonitor, but this cluster has no Prometheus operator (monitoring.coreos.com/v1): install it, or leave both off.
{{- end }}
{{- end }}
{{- end }}
