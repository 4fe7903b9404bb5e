# What a person decides about data: the bucket, the images, and which service accounts may reach them.

variable "bucket_name" {
  description = "Name of the bucket, unique in the world. Empty: the cluster's name, the account and the region."
  type        = string
  default     = ""

  validation {
    condition     = var.bucket_name == "" || can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.bucket_name))
    error_message = "bucket_name must have 3 to 63 lower case letters, digits and hyphens (no dots: they break TLS)."
  }
}

variable "bucket_force_destroy" {
  description = "Whether `terraform destroy` may delete a bucket that still holds data, with every model in it."
  type        = bool
  default     = false
}

variable "store_prefix" {
  description = "Folder of the bucket that is SPHINX-X's store: corpora, runs, models, results."
  type        = string
  default     = "sphinx-x"

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]*$", var.store_prefix))
    error_message = "store_prefix must be one folder's name of lower case letters, digits and hyphens, without a slash."
  }
}

variable "noncurrent_days" {
  description = "How long a deleted or overwritten object can be brought back. Runs have one day: rolling checkpoints would fill the bucket."
  type        = number
  default     = 30

  validation {
    condition     = var.noncurrent_days >= 1
    error_message = "noncurrent_days must be 1 or more."
  }
}

variable "checkpoint_days" {
  description = "Large files below runs/ older than this are deleted: checkpoints of runs that nobody went on with. 0 keeps them for ever."
  type        = number
  default     = 90

  validation {
    condition     = var.checkpoint_days == 0 || var.checkpoint_days >= 30
    error_message = "checkpoint_days must be 0 (never) or at least 30, longer than any run takes."
  }
}

variable "raw_data_bucket_arns" {
  description = "Other buckets that hold raw datasets; pipelines may read them, nothing may write to them."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.raw_data_bucket_arns : can(regex("^arn:aws[a-z-]*:s3:::[^/*]+$", arn))])
    error_message = "raw_data_bucket_arns must hold bucket ARNs such as arn:aws:s3:::my-data, without a path or a star."
  }
}

variable "pipeline_service_accounts" {
  description = "namespace:name of the service accounts of pipeline pods: kubeflow:pipeline-runner, or <profile>:default-editor in multi-user Kubeflow."
  type        = list(string)
  default     = ["kubeflow:pipeline-runner"]

  validation {
    condition     = length(var.pipeline_service_accounts) > 0 && alltrue([for one in var.pipeline_service_accounts : can(regex("^[a-z0-9-]+:[a-z0-9-]+$", one))])
    error_message = "pipeline_service_accounts must hold namespace:name pairs, such as kubeflow:pipeline-runner, without stars."
  }
}

variable "training_service_accounts" {
  description = "namespace:name of the service accounts of training nodes."
  type        = list(string)
  default     = ["kubeflow:sphinx-x-training"]

  validation {
    condition     = length(var.training_service_accounts) > 0 && alltrue([for one in var.training_service_accounts : can(regex("^[a-z0-9-]+:[a-z0-9-]+$", one))])
    error_message = "training_service_accounts must hold namespace:name pairs, such as kubeflow:sphinx-x-training, without stars."
  }
}

variable "mlflow_service_account" {
  description = "namespace:name of MLflow's service account; it gets the folder mlflow/ of the store."
  type        = string
  default     = "kubeflow:sphinx-x-mlflow"

  validation {
    condition     = can(regex("^[a-z0-9-]+:[a-z0-9-]+$", var.mlflow_service_account))
    error_message = "mlflow_service_account must be namespace:name, without stars."
  }
}

variable "untagged_image_days" {
  description = "Images without a tag are deleted after this. Tagged images stay: a registered model names the one that made it."
  type        = number
  default     = 14
}
