# What all nodes share: their role, and the launch template of CPU nodes. GPU nodes: nodes-gpu.tf.

locals {
  # Pods must not reach the instance's own credentials: a token is asked for, and it does not travel further than the node.
  metadata = { http_endpoint = "enabled", http_tokens = "required", http_put_response_hop_limit = 1 }
}

resource "aws_iam_role" "node" {
  name = "${var.name}-node"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "ec2.amazonaws.com" } }]
  })
  tags = local.tags
}

# Joining the cluster and pulling images; pods' rights to data are in identity.tf.
resource "aws_iam_role_policy_attachment" "node" {
  for_each   = toset(["AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly"])
  role       = aws_iam_role.node.name
  policy_arn = "${local.arn}:iam::aws:policy/${each.key}"
}

resource "aws_launch_template" "cpu" {
  name_prefix = "${var.name}-cpu-"
  tags        = local.tags

  metadata_options {
    http_endpoint               = local.metadata.http_endpoint
    http_tokens                 = local.metadata.http_tokens
    http_put_response_hop_limit = local.metadata.http_put_response_hop_limit
  }
  block_device_mappings {
    device_name = "/dev/xvda"
    ebs {
      volume_type = "gp3"
      volume_size = var.cpu_nodes.root_gib
      encrypted   = "true"
    }
  }
  tag_specifications {
    resource_type = "instance"
    tags          = merge(local.tags, { Name = "${var.name}-cpu" })
  }
}

resource "aws_eks_node_group" "cpu" {
  cluster_name           = aws_eks_cluster.this.name
  node_group_name_prefix = "cpu-"
  node_role_arn          = aws_iam_role.node.arn
  subnet_ids             = [for zone in var.zones : aws_subnet.private[zone].id]
  ami_type               = "AL2023_x86_64_STANDARD"
  instance_types         = var.cpu_nodes.instance_types
  labels                 = { "sphinx-x/pool" = "cpu" }
  tags                   = local.tags

  launch_template {
    id      = aws_launch_template.cpu.id
    version = aws_launch_template.cpu.latest_version
  }
  scaling_config {
    min_size     = var.cpu_nodes.min
    max_size     = var.cpu_nodes.max
    desired_size = var.cpu_nodes.min
  }
  update_config { max_unavailable = 1 }

  lifecycle {
    create_before_destroy = true
    ignore_changes        = [scaling_config[0].desired_size] # the autoscaler's
  }
  depends_on = [aws_iam_role_policy_attachment.node, aws_eks_addon.vpc_cni, aws_eks_addon.kube_proxy]
}
