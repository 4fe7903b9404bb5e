# What this module is written for. It needs the AWS provider alone, so that it can be validated and tested with one provider;
# what runs inside the cluster is installed by ../install.sh.

terraform {
  required_version = ">= 1.9.0" # validations that refer to other variables

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}
