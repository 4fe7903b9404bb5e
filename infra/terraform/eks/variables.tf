# What a person decides about the cluster, its network and who may reach it. Node groups: variables-nodes.tf; storage and
# identities: variables-storage.tf.

variable "name" {
  description = "Name of the cluster; every other name begins with it."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.name))
    error_message = "name must have 3 to 32 lower case letters, digits and hyphens, and begin with a letter, since bucket and role names are made of it."
  }
}

variable "kubernetes_version" {
  description = "Minor version of Kubernetes. Kubeflow Trainer 2.3 needs 1.31 or later."
  type        = string
  default     = "1.34"

  validation {
    condition     = can(regex("^1\\.[0-9]{2}$", var.kubernetes_version)) && try(tonumber(split(".", var.kubernetes_version)[1]) >= 31, false)
    error_message = "kubernetes_version must be a minor version such as \"1.34\", and 1.31 or later, since Kubeflow Trainer 2.3 runs on nothing older."
  }
}

variable "zones" {
  description = "Availability zones, by name. EKS wants two; GPU nodes with EFA are put in one of them."
  type        = list(string)

  validation {
    condition     = length(distinct(var.zones)) == length(var.zones) && length(var.zones) >= 2 && length(var.zones) <= 7
    error_message = "zones must name two to seven different availability zones, such as [\"us-east-1a\", \"us-east-1b\"]; EKS puts its control plane into two."
  }
}

variable "vpc_cidr" {
  description = "Addresses of the VPC: a quarter of it for each zone's nodes and pods (an eighth, with more than three zones)."
  type        = string
  default     = "10.64.0.0/16"

  validation {
    condition     = can(cidrsubnet(var.vpc_cidr, 8, 0)) && try(tonumber(split("/", var.vpc_cidr)[1]) <= 18, false)
    error_message = "vpc_cidr must be an IPv4 range of /18 or larger, such as \"10.64.0.0/16\"; pods take their addresses from it."
  }
}

variable "nat_gateway_per_zone" {
  description = "One NAT gateway a zone instead of one in all: a zone that fails takes no other with it, at the price of more gateways."
  type        = bool
  default     = false
}

variable "public_endpoint_cidrs" {
  description = "Who may reach the Kubernetes API from outside the VPC. Empty: nobody, the endpoint is private."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.public_endpoint_cidrs : can(cidrhost(cidr, 0))])
    error_message = "public_endpoint_cidrs must hold address ranges such as \"203.0.113.0/24\"."
  }

  validation {
    condition     = !contains(var.public_endpoint_cidrs, "0.0.0.0/0") && !contains(var.public_endpoint_cidrs, "::/0")
    error_message = "public_endpoint_cidrs must not hold the whole internet; name the ranges of your office, VPN or CI."
  }
}

variable "admin_role_arns" {
  description = "IAM roles or users that administer the cluster, besides whoever creates it."
  type        = list(string)
  default     = []
}

variable "log_types" {
  description = "Logs of the control plane that go to CloudWatch; ingestion is paid by the GB."
  type        = list(string)
  default     = ["api", "audit", "authenticator"]

  validation {
    condition     = length(setsubtract(var.log_types, ["api", "audit", "authenticator", "controllerManager", "scheduler"])) == 0
    error_message = "log_types may hold api, audit, authenticator, controllerManager and scheduler."
  }
}

variable "log_retention_days" {
  description = "How long CloudWatch keeps the control plane's logs."
  type        = number
  default     = 30
}

variable "tags" {
  description = "Tags of everything that this module makes; a tag of its own makes the bill readable."
  type        = map(string)
  default     = {}
}
