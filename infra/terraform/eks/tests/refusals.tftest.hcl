# What is refused before anything is made, each by the variable or the resource that says why.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name  = "sphinx-x-test"
  zones = ["us-east-1a", "us-east-1b"]
}

override_data {
  target = data.aws_ec2_instance_type.gpu["m7i.large"]
  values = { gpus = [], efa_maximum_interfaces = 0, supported_architectures = ["x86_64"], maximum_network_cards = 1, instance_storage_supported = false }
}

override_data {
  target = data.aws_ec2_instance_type.gpu["g5g.xlarge"]
  values = { efa_maximum_interfaces = 0, supported_architectures = ["arm64"], maximum_network_cards = 1, instance_storage_supported = false, gpus = [{ count = 1, manufacturer = "NVIDIA", memory_size = 16384, name = "T4g" }] }
}

override_data {
  target = data.aws_ec2_instance_type.gpu["g4ad.xlarge"]
  values = { efa_maximum_interfaces = 0, supported_architectures = ["x86_64"], maximum_network_cards = 1, instance_storage_supported = true, gpus = [{ count = 1, manufacturer = "AMD", memory_size = 8192, name = "Radeon Pro V520" }] }
}

run "each_variable_refuses_what_cannot_work" {
  command = plan
  variables {
    name                      = "SphinxX"
    zones                     = ["us-east-1a"]
    kubernetes_version        = "1.30" # too old for Trainer
    vpc_cidr                  = "10.0.0.0/20"
    public_endpoint_cidrs     = ["0.0.0.0/0"]
    log_types                 = ["audits"]
    cpu_nodes                 = { min = 0 }
    bucket_name               = "a.b.c"
    store_prefix              = "a/b"
    checkpoint_days           = 7 # a run may take longer
    noncurrent_days           = 0
    raw_data_bucket_arns      = ["arn:aws:s3:::*"]
    pipeline_service_accounts = ["kubeflow:*"]
    training_service_accounts = ["*:sphinx-x-training"]
    mlflow_service_account    = "mlflow"
  }
  expect_failures = [
    var.name,
    var.zones,
    var.kubernetes_version,
    var.vpc_cidr,
    var.public_endpoint_cidrs,
    var.log_types,
    var.cpu_nodes,
    var.bucket_name,
    var.store_prefix,
    var.checkpoint_days,
    var.noncurrent_days,
    var.raw_data_bucket_arns,
    var.pipeline_service_accounts,
    var.training_service_accounts,
    var.mlflow_service_account,
  ]
}

run "and_what_is_written_wrong" {
  command = plan
  variables {
    zones                     = ["us-east-1a", "us-east-1a"]
    kubernetes_version        = "1.34.1"
    vpc_cidr                  = "10.0.0.0"
    public_endpoint_cidrs     = ["office"]
    cpu_nodes                 = { min = 3, max = 2 }
    pipeline_service_accounts = []
  }
  expect_failures = [
    var.zones,
    var.kubernetes_version,
    var.vpc_cidr,
    var.public_endpoint_cidrs,
    var.cpu_nodes,
    var.pipeline_service_accounts,
  ]
}

run "an_unknown_capacity" {
  command = plan
  variables {
    gpu_nodes = { g = { instance_type = "g5.xlarge", capacity = "cheap" } }
  }
  expect_failures = [
    var.gpu_nodes,
  ]
}

run "a_block_without_its_reservation" {
  command = plan
  variables {
    gpu_nodes = { g = { instance_type = "p5.48xlarge", capacity = "capacity-block", zone = "us-east-1a" } }
  }
  expect_failures = [
    var.gpu_nodes,
  ]
}

run "a_reservation_that_nothing_uses" {
  command = plan
  variables {
    gpu_nodes = { g = { instance_type = "g5.xlarge", reservation_id = "cr-0123456789abcdef0" } }
  }
  expect_failures = [
    var.gpu_nodes,
  ]
}

run "efa_without_a_zone" {
  command = plan
  variables {
    gpu_nodes = { g = { instance_type = "p5.48xlarge", efa = true } }
  }
  expect_failures = [
    var.gpu_nodes,
  ]
}

run "a_zone_that_the_cluster_has_not" {
  command = plan
  variables {
    gpu_nodes = { g = { instance_type = "g5.xlarge", zone = "us-east-1f" } }
  }
  expect_failures = [
    var.gpu_nodes,
  ]
}

run "efa_on_spot" {
  command = plan
  variables {
    gpu_nodes = { g = { instance_type = "p5.48xlarge", efa = true, zone = "us-east-1a", capacity = "spot" } }
  }
  expect_failures = [
    var.gpu_nodes,
  ]
}

run "a_placement_group_without_efa" {
  command = plan
  variables {
    gpu_nodes = { g = { instance_type = "g5.xlarge", placement_group = "near" } }
  }
  expect_failures = [
    var.gpu_nodes,
  ]
}

run "more_desired_than_allowed" {
  command = plan
  variables {
    gpu_nodes = { g = { instance_type = "g5.xlarge", desired = 2 } }
  }
  expect_failures = [
    var.gpu_nodes,
  ]
}

run "instance_types_that_cannot_train" {
  command = plan
  variables {
    gpu_nodes = {
      cpu  = { instance_type = "m7i.large" }
      amd  = { instance_type = "g4ad.xlarge" }
      arm  = { instance_type = "g5g.xlarge" }
      slow = { instance_type = "g5.xlarge", efa = true, zone = "us-east-1a" }
    }
  }
  expect_failures = [
    aws_launch_template.gpu["cpu"],
    aws_launch_template.gpu["amd"],
    aws_launch_template.gpu["arm"],
    aws_launch_template.gpu["slow"],
  ]
}
