# A cluster for plus and moe: p5.48xlarge (eight H100, 32 EFA interfaces) from a capacity reservation, beside a few smaller GPUs for evaluation.

terraform {
  required_version = ">= 1.9.0"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
  # Keep the state where your team finds it, encrypted and locked:
  # backend "s3" { bucket = "…", key = "sphinx-x/large.tfstate", region = "us-east-2", encrypt = true, use_lockfile = true }
}

variable "p5_nodes" {
  description = "Most p5.48xlarge nodes at once."
  type        = number
  default     = 4
}

variable "capacity_block_id" {
  description = "Id (cr-…) of a bought capacity block of p5.48xlarge; empty asks for on-demand nodes, of which an account has none by default."
  type        = string
  default     = ""
}

provider "aws" {
  region = "us-east-2"
  default_tags { tags = { project = "sphinx-x" } }
}

module "eks" {
  source = "../.."

  name                 = "sphinx-x-large"
  zones                = ["us-east-2a", "us-east-2b", "us-east-2c"]
  vpc_cidr             = "10.80.0.0/16"
  nat_gateway_per_zone = true
  # The API is reached from inside the VPC alone: by VPN, or from a machine in it.
  public_endpoint_cidrs = []
  cpu_nodes             = { instance_types = ["m7i.4xlarge"], min = 3, max = 12 }

  gpu_nodes = {
    p5 = {
      instance_type  = "p5.48xlarge"
      capacity       = var.capacity_block_id != "" ? "capacity-block" : "on-demand"
      reservation_id = var.capacity_block_id
      zone           = "us-east-2a" # the capacity block's
      efa            = true
      max            = var.p5_nodes
    }
    g6e = { instance_type = "g6e.12xlarge", max = 4 }
  }
}

output "all" {
  description = "Everything that ../../../install.sh reads."
  value       = module.eks
}
