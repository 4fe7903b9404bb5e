# What the next steps need: ../install.sh reads these, and a person reads the first.

output "kubeconfig_command" {
  description = "Makes kubectl and helm speak to this cluster."
  value       = "aws eks update-kubeconfig --region ${data.aws_region.current.name} --name ${aws_eks_cluster.this.name}"
}

output "cluster_name" {
  description = "Name of the cluster."
  value       = aws_eks_cluster.this.name
}

output "region" {
  description = "Region of the cluster and its bucket."
  value       = data.aws_region.current.name
}

output "vpc_id" {
  description = "The VPC, for peering and the like."
  value       = aws_vpc.this.id
}

output "bucket" {
  description = "Name of the bucket."
  value       = aws_s3_bucket.this.bucket
}

output "store_uri" {
  description = "SPHINX-X's store, for pipelines and the command line."
  value       = "s3://${aws_s3_bucket.this.bucket}/${var.store_prefix}"
}

output "role_arns" {
  description = "Role of each service account, for its annotation eks.amazonaws.com/role-arn."
  value       = { for name, role in aws_iam_role.service : name => role.arn }
}

output "registries" {
  description = "Where the images are pushed."
  value       = { for name, repository in aws_ecr_repository.image : name => repository.repository_url }
}

output "service_accounts" {
  description = "namespace:name of the service accounts that each role trusts."
  value       = { for name, service in local.services : name => service.accounts }
}

output "efa_interfaces" {
  description = "EFA interfaces of a node by node group, for the chart's resource vpc.amazonaws.com/efa."
  value       = { for name, facts in local.gpu_facts : name => facts.efas }
}
