# What the module makes of its defaults and of a small cluster: network, control plane, bucket, registries. No AWS account is asked.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name  = "sphinx-x-test"
  zones = ["us-east-1a", "us-east-1b"]
}

run "network" {
  command = apply

  assert {
    condition     = length(aws_subnet.private) == 2 && length(aws_subnet.public) == 2
    error_message = "Each zone has a private and a public subnet."
  }
  assert {
    condition     = [for subnet in aws_subnet.private : subnet.cidr_block] == ["10.64.0.0/18", "10.64.64.0/18"]
    error_message = "Private subnets are quarters of the VPC."
  }
  assert {
    condition     = length(distinct(concat([for subnet in aws_subnet.private : subnet.cidr_block], [for subnet in aws_subnet.public : subnet.cidr_block]))) == 4
    error_message = "No two subnets share a range."
  }
  assert {
    condition     = length(aws_nat_gateway.this) == 1 && length(aws_route.private) == 2
    error_message = "One NAT gateway serves all zones unless asked otherwise."
  }
  assert {
    condition     = aws_vpc_endpoint.s3.vpc_endpoint_type == "Gateway" && length(aws_vpc_endpoint.s3.route_table_ids) > 0
    error_message = "S3 is reached by a gateway endpoint, not through NAT."
  }
  assert {
    condition     = length(aws_default_security_group.none.ingress) == 0 && length(aws_default_security_group.none.egress) == 0
    error_message = "The default security group allows nothing."
  }
}

run "a_nat_gateway_per_zone" {
  command = plan
  variables { nat_gateway_per_zone = true }

  assert {
    condition     = length(aws_nat_gateway.this) == 2
    error_message = "Each zone has its own NAT gateway when asked for."
  }
}

run "five_zones_fit" {
  command = plan
  variables { zones = ["a", "b", "c", "d", "e"] }

  assert {
    condition     = aws_subnet.private["e"].cidr_block == "10.64.128.0/19" && aws_subnet.public["a"].cidr_block == "10.64.224.0/25"
    error_message = "Private subnets are eighths of the VPC and public ones are cut from the last eighth."
  }
}

run "control_plane" {
  command = plan

  assert {
    condition     = !aws_eks_cluster.this.vpc_config[0].endpoint_public_access && aws_eks_cluster.this.vpc_config[0].endpoint_private_access
    error_message = "The API is private unless ranges are named."
  }
  assert {
    condition     = aws_eks_cluster.this.encryption_config[0].resources == toset(["secrets"]) && aws_kms_key.secrets.enable_key_rotation
    error_message = "Secrets are encrypted by a key that rotates."
  }
  assert {
    condition     = contains(aws_eks_cluster.this.enabled_cluster_log_types, "audit") && aws_cloudwatch_log_group.cluster.retention_in_days == 30
    error_message = "The audit log is kept, and not for ever."
  }
  assert {
    condition     = aws_eks_cluster.this.access_config[0].authentication_mode == "API"
    error_message = "Access entries alone decide who gets in."
  }
  assert {
    condition     = jsondecode(aws_eks_addon.vpc_cni.configuration_values).enableNetworkPolicy == "true"
    error_message = "The chart's NetworkPolicies have an effect."
  }
}

run "a_public_endpoint_for_named_ranges" {
  command = plan
  variables { public_endpoint_cidrs = ["203.0.113.0/24"] }

  assert {
    condition     = aws_eks_cluster.this.vpc_config[0].endpoint_public_access && aws_eks_cluster.this.vpc_config[0].public_access_cidrs == toset(["203.0.113.0/24"])
    error_message = "The API is public for the named ranges alone."
  }
}

run "bucket" {
  command = apply

  assert {
    condition     = aws_s3_bucket.this.bucket == "sphinx-x-test-123456789012-us-east-1" && !aws_s3_bucket.this.force_destroy
    error_message = "The bucket has a name of its own and is not destroyed with its data."
  }
  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.this.block_public_acls, aws_s3_bucket_public_access_block.this.block_public_policy,
      aws_s3_bucket_public_access_block.this.ignore_public_acls, aws_s3_bucket_public_access_block.this.restrict_public_buckets,
    ])
    error_message = "Nothing in the bucket is public."
  }
  assert {
    condition     = one(one(aws_s3_bucket_server_side_encryption_configuration.this.rule).apply_server_side_encryption_by_default).sse_algorithm == "aws:kms" && one(aws_s3_bucket_server_side_encryption_configuration.this.rule).bucket_key_enabled
    error_message = "Objects are encrypted by a KMS key, with few calls of KMS."
  }
  assert {
    condition     = aws_s3_bucket_versioning.this.versioning_configuration[0].status == "Enabled"
    error_message = "What was overwritten can be brought back."
  }
  assert {
    condition = anytrue([
      for statement in jsondecode(aws_s3_bucket_policy.this.policy).Statement :
      statement.Effect == "Deny" && statement.Principal == "*" && statement.Action == "s3:*" && try(statement.Condition.Bool["aws:SecureTransport"], "") == "false"
      && toset(statement.Resource) == toset(["arn:aws:s3:::sphinx-x-test-123456789012-us-east-1", "arn:aws:s3:::sphinx-x-test-123456789012-us-east-1/*"])
    ])
    error_message = "Whoever speaks without TLS is refused, on the bucket and on every object."
  }
}

run "lifecycle" {
  command = plan

  assert {
    condition     = [for rule in aws_s3_bucket_lifecycle_configuration.this.rule : rule.abort_incomplete_multipart_upload[0].days_after_initiation if length(rule.abort_incomplete_multipart_upload) > 0] == [7]
    error_message = "Uploads that never ended are removed after a week."
  }
  assert {
    condition     = { for rule in aws_s3_bucket_lifecycle_configuration.this.rule : rule.id => rule.noncurrent_version_expiration[0].noncurrent_days if length(rule.noncurrent_version_expiration) > 0 } == { "checkpoints-that-the-trainer-deleted" = 1, "what-was-deleted-or-overwritten" = 30 }
    error_message = "Deleted checkpoints stay for a day, everything else for a month."
  }
  assert {
    condition     = [for rule in aws_s3_bucket_lifecycle_configuration.this.rule : [rule.expiration[0].days, rule.filter[0].and[0].prefix] if rule.id == "checkpoints-that-nobody-went-on-with"] == [[90, "sphinx-x/runs/"]]
    error_message = "Only large files of runs are deleted by age; models, corpora and results never are."
  }
}

run "checkpoints_for_ever" {
  command = plan
  variables { checkpoint_days = 0 }

  assert {
    condition     = !contains([for rule in aws_s3_bucket_lifecycle_configuration.this.rule : rule.id], "checkpoints-that-nobody-went-on-with")
    error_message = "With 0 days no current object is deleted."
  }
}

run "registries" {
  command = apply

  assert {
    condition     = toset([for repository in aws_ecr_repository.image : repository.name]) == toset(["sphinx-x-test/sphinx-x-ops", "sphinx-x-test/sphinx-x-train"])
    error_message = "Each of the two images has its registry."
  }
  assert {
    condition     = alltrue([for repository in aws_ecr_repository.image : repository.image_tag_mutability == "IMMUTABLE" && repository.image_scanning_configuration[0].scan_on_push])
    error_message = "Tags are immutable and images are scanned."
  }
  assert {
    condition     = alltrue([for policy in aws_ecr_lifecycle_policy.image : alltrue([for rule in jsondecode(policy.policy).rules : rule.selection.tagStatus == "untagged"])])
    error_message = "No tagged image is deleted by age: a registered model names it."
  }
}

run "outputs" {
  command = apply

  assert {
    condition     = output.kubeconfig_command == "aws eks update-kubeconfig --region us-east-1 --name sphinx-x-test"
    error_message = "The command for kubectl is complete."
  }
  assert {
    condition     = output.store_uri == "s3://sphinx-x-test-123456789012-us-east-1/sphinx-x"
    error_message = "The store's URI names the bucket and the folder."
  }
  assert {
    condition     = toset(keys(output.role_arns)) == toset(["pipelines", "training", "mlflow", "autoscaler", "ebs-csi", "vpc-cni"])
    error_message = "There is a role for each service account that needs AWS, and none for the reaper."
  }
}
