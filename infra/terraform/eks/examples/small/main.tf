# The smallest cluster that trains tiny on a GPU: one g5.xlarge (one A10G), spot, gone while nothing trains.

terraform {
  required_version = ">= 1.9.0"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
  # Keep the state where your team finds it, encrypted and locked:
  # backend "s3" { bucket = "…", key = "sphinx-x/small.tfstate", region = "us-east-1", encrypt = true, use_lockfile = true }
}

variable "my_ip_cidr" {
  description = "Range from which kubectl is used, such as 203.0.113.7/32."
  type        = string
}

provider "aws" {
  region = "us-east-1"
  default_tags { tags = { project = "sphinx-x" } }
}

module "eks" {
  source = "../.."

  name                  = "sphinx-x-small"
  zones                 = ["us-east-1a", "us-east-1b"]
  public_endpoint_cidrs = [var.my_ip_cidr]

  gpu_nodes = {
    g5 = { instance_type = "g5.xlarge", capacity = "spot", max = 1 }
  }
}

output "all" {
  description = "Everything that ../../../install.sh reads."
  value       = module.eks
}
