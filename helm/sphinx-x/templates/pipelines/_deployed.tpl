{{/* A compiled pipeline made fit for this deployment, as pipelines/cluster/render.py does it for the uploader; tests hold both against
each other. (dict "root" $ "text" the compiled YAML); gives {"pipelineSpec": …, "platformSpec": …}. */}}
{{- define "sphinx-x.deployedPipeline" -}}
{{- $root := .root -}}
{{- $documents := splitList "\n---\n" .text -}}
{{- $spec := index $documents 0 | fromYaml -}}
{{- $platform := index $documents 1 | fromYaml -}}
{{- $train := include "sphinx-x.image" (dict "root" $root "which" "train") -}}
{{- $digest := splitList "@" $train | rest | first | default (splitList "/" $train | last) -}}
{{- range $executor := $spec.deploymentSpec.executors -}}
{{- with $executor.container -}}
{{- $_ := set $executor.container "env" (append (default list $executor.container.env) (dict "name" "SPHINX_X_IMAGE_DIGEST" "value" $digest)) -}}
{{- range $which := list "ops" "train" -}}
{{- if hasPrefix (printf "registry.invalid/sphinx-x-%s:" $which) $executor.container.image -}}
{{- $_ := set $executor.container "image" (include "sphinx-x.image" (dict "root" $root "which" $which)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $s3 := $root.Values.s3.existingSecret -}}
{{- $mlflow := $root.Values.mlflow.existingSecret -}}
{{- $secrets := dict
  "sphinx-x-s3" (dict "name" $s3.name "keys" (list (dict "envVar" "AWS_ACCESS_KEY_ID" "secretKey" $s3.accessKeyIdKey) (dict "envVar" "AWS_SECRET_ACCESS_KEY" "secretKey" $s3.secretAccessKeyKey)))
  "sphinx-x-mlflow" (dict "name" $mlflow.name "keys" (list (dict "envVar" "MLFLOW_TRACKING_PASSWORD" "secretKey" $mlflow.passwordKey) (dict "envVar" "MLFLOW_TRACKING_USERNAME" "secretKey" $mlflow.usernameKey)))
-}}
{{- range $executor := $platform.platforms.kubernetes.deploymentSpec.executors -}}
{{- if hasKey $executor "secretAsEnv" -}}
{{- $kept := list -}}
{{- range $entry := $executor.secretAsEnv -}}
{{- $secret := get $secrets $entry.secretName -}}
{{- if not $secret -}}
{{- $kept = append $kept $entry -}}
{{- else if $secret.name -}}
{{- $constant := dict "runtimeValue" (dict "constant" $secret.name) -}}
{{- $kept = append $kept (merge (dict "secretName" $secret.name "secretNameParameter" $constant "keyToEnv" $secret.keys) (omit $entry "secretNameParameter")) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $executor "secretAsEnv" $kept -}}
{{- end -}}
{{- end -}}
{{- $parameters := $spec.root.inputDefinitions.parameters -}}
{{- range $name, $value := $root.Values.kfp.defaults -}}
{{- if hasKey $parameters $name -}}
{{- $_ := set (get $parameters $name) "defaultValue" $value -}}
{{- end -}}
{{- end -}}
{{- dict "pipelineSpec" $spec "platformSpec" $platform | toYaml -}}
{{- end }}
