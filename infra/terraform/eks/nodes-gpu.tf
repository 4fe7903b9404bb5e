# GPU node groups: capacity, EFA interfaces, placement, NVMe disks, taint. How many network cards an instance type has is asked of AWS.

data "aws_ec2_instance_type" "gpu" {
  for_each      = toset([for group in values(var.gpu_nodes) : group.instance_type])
  instance_type = each.key
}

locals {
  gpu_facts = {
    for name, group in var.gpu_nodes : name => {
      gpus = sum(concat([0], [for gpu in data.aws_ec2_instance_type.gpu[group.instance_type].gpus : gpu.count if gpu.manufacturer == "NVIDIA"]))
      efas = group.efa ? coalesce(data.aws_ec2_instance_type.gpu[group.instance_type].efa_maximum_interfaces, 0) : 0
      # Where there are more cards than EFA interfaces, card 0 is without.
      first_card = group.efa && coalesce(data.aws_ec2_instance_type.gpu[group.instance_type].maximum_network_cards, 1) > coalesce(data.aws_ec2_instance_type.gpu[group.instance_type].efa_maximum_interfaces, 0) ? 1 : 0
      has_nvme   = coalesce(data.aws_ec2_instance_type.gpu[group.instance_type].instance_storage_supported, false)
    }
  }
  # As AWS advises (EC2 User Guide, "Maximize network bandwidth on instances with multiple network cards"): an ordinary interface first,
  # then one EFA-only interface per card, the second device of card 0 and the first of the others. EFA-only ones use up no address.
  gpu_interfaces = {
    for name, facts in local.gpu_facts : name => concat(
      [{ card = 0, device = 0, type = "interface" }],
      [for card in range(facts.first_card, facts.first_card + facts.efas) : { card = card, device = card == 0 ? 1 : 0, type = "efa-only" }],
    )
  }
  # A capacity block's nodes are near each other by themselves (EC2 User Guide, "Work with Capacity Blocks"); a reservation's nodes can be
  # in a placement group only if the reservation was made in it, so that one is named, not made.
  placement_groups = toset([for name, group in var.gpu_nodes : name if group.efa && group.capacity == "on-demand" && group.placement_group == ""])
  placements = merge(
    { for name in local.placement_groups : name => aws_placement_group.gpu[name].name },
    { for name, group in var.gpu_nodes : name => group.placement_group if group.placement_group != "" },
  )
  capacity_types = { on-demand = "ON_DEMAND", spot = "SPOT", reservation = "ON_DEMAND", capacity-block = "CAPACITY_BLOCK" }

  # Disks of the instance become one fast volume for containerd and the kubelet, so images, /tmp and checkpoints on their way lie there.
  nvme_user_data = base64encode(<<-MIME
    MIME-Version: 1.0
    Content-Type: multipart/mixed; boundary="//"

    --//
    Content-Type: application/node.eks.aws

    apiVersion: node.eks.aws/v1alpha1
    kind: NodeConfig
    spec:
      instance:
        localStorage:
          strategy: RAID0

    --//--
    MIME
  )
}

resource "aws_placement_group" "gpu" {
  for_each = local.placement_groups
  name     = "${var.name}-${each.key}"
  strategy = "cluster"
  tags     = local.tags
}

# EFA carries no IP, so its traffic is allowed by group alone: all of it, between the nodes of the cluster's GPU groups, both ways.
resource "aws_security_group" "efa" {
  name        = "${var.name}-efa"
  description = "EFA traffic between GPU nodes"
  vpc_id      = aws_vpc.this.id
  tags        = merge(local.tags, { Name = "${var.name}-efa" })
}

resource "aws_vpc_security_group_ingress_rule" "efa" {
  security_group_id            = aws_security_group.efa.id
  referenced_security_group_id = aws_security_group.efa.id
  ip_protocol                  = "-1"
  description                  = "EFA from GPU nodes"
}

resource "aws_vpc_security_group_egress_rule" "efa" {
  security_group_id            = aws_security_group.efa.id
  referenced_security_group_id = aws_security_group.efa.id
  ip_protocol                  = "-1"
  description                  = "EFA to GPU nodes"
}

resource "aws_launch_template" "gpu" {
  for_each    = var.gpu_nodes
  name_prefix = "${var.name}-${each.key}-"
  # A capacity block wants the type here; the node group then must not name it.
  instance_type = each.value.capacity == "capacity-block" ? each.value.instance_type : null
  user_data     = local.gpu_facts[each.key].has_nvme ? local.nvme_user_data : null
  # With interfaces named below, the security groups belong there.
  vpc_security_group_ids = each.value.efa ? null : [aws_eks_cluster.this.vpc_config[0].cluster_security_group_id]
  tags                   = local.tags

  dynamic "network_interfaces" {
    for_each = each.value.efa ? local.gpu_interfaces[each.key] : []
    content {
      network_card_index    = network_interfaces.value.card
      device_index          = network_interfaces.value.device
      interface_type        = network_interfaces.value.type
      security_groups       = [aws_eks_cluster.this.vpc_config[0].cluster_security_group_id, aws_security_group.efa.id]
      delete_on_termination = "true"
    }
  }
  dynamic "placement" {
    for_each = contains(keys(local.placements), each.key) ? [local.placements[each.key]] : []
    content { group_name = placement.value }
  }
  dynamic "capacity_reservation_specification" {
    for_each = each.value.reservation_id != "" ? [each.value.reservation_id] : []
    content {
      capacity_reservation_target { capacity_reservation_id = capacity_reservation_specification.value }
    }
  }
  dynamic "instance_market_options" {
    for_each = each.value.capacity == "capacity-block" ? [1] : []
    content { market_type = "capacity-block" }
  }
  metadata_options {
    http_endpoint               = local.metadata.http_endpoint
    http_tokens                 = local.metadata.http_tokens
    http_put_response_hop_limit = local.metadata.http_put_response_hop_limit
  }
  block_device_mappings {
    device_name = "/dev/xvda"
    ebs {
      volume_type = "gp3"
      volume_size = each.value.root_gib
      encrypted   = "true"
    }
  }
  tag_specifications {
    resource_type = "instance"
    tags          = merge(local.tags, { Name = "${var.name}-${each.key}" })
  }

  lifecycle {
    precondition {
      condition     = local.gpu_facts[each.key].gpus > 0
      error_message = "gpu_nodes.${each.key}: ${each.value.instance_type} has no NVIDIA GPU; choose a type of the families g5, g6, g6e, p4d, p5 or p6."
    }
    precondition {
      condition     = contains(data.aws_ec2_instance_type.gpu[each.value.instance_type].supported_architectures, "x86_64")
      error_message = "gpu_nodes.${each.key}: ${each.value.instance_type} is not x86_64, and our images are built for that alone."
    }
    precondition {
      condition     = !each.value.efa || local.gpu_facts[each.key].efas > 0
      error_message = "gpu_nodes.${each.key}: ${each.value.instance_type} has no EFA; set efa = false, or choose a larger type."
    }
  }
}

resource "aws_eks_node_group" "gpu" {
  for_each               = var.gpu_nodes
  cluster_name           = aws_eks_cluster.this.name
  node_group_name_prefix = "${each.key}-"
  node_role_arn          = aws_iam_role.node.arn
  subnet_ids             = [for zone in(each.value.zone != "" ? [each.value.zone] : var.zones) : aws_subnet.private[zone].id]
  ami_type               = "AL2023_x86_64_NVIDIA"
  capacity_type          = local.capacity_types[each.value.capacity]
  instance_types         = each.value.capacity == "capacity-block" ? null : [each.value.instance_type]
  # NVIDIA's device plugin looks for the last one.
  labels = merge({ "sphinx-x/pool" = "gpu", "sphinx-x/node-group" = each.key, "nvidia.com/gpu.present" = "true" }, each.value.labels)
  tags   = local.tags

  launch_template {
    id      = aws_launch_template.gpu[each.key].id
    version = aws_launch_template.gpu[each.key].latest_version
  }
  scaling_config {
    min_size     = each.value.min
    max_size     = each.value.max
    desired_size = each.value.desired
  }
  taint {
    key    = "nvidia.com/gpu"
    value  = "present"
    effect = "NO_SCHEDULE"
  }
  update_config { max_unavailable = 1 }

  lifecycle {
    ignore_changes = [scaling_config[0].desired_size] # the autoscaler's
  }
  depends_on = [aws_iam_role_policy_attachment.node, aws_eks_addon.vpc_cni, aws_eks_addon.kube_proxy]
}

# An autoscaler that starts from no node at all must be told what a node would offer; GPUs it knows from the type, EFA it does not.
resource "aws_autoscaling_group_tag" "efa" {
  for_each               = { for name, group in var.gpu_nodes : name => group if group.efa }
  autoscaling_group_name = aws_eks_node_group.gpu[each.key].resources[0].autoscaling_groups[0].name
  tag {
    key                 = "k8s.io/cluster-autoscaler/node-template/resources/vpc.amazonaws.com/efa"
    value               = tostring(local.gpu_facts[each.key].efas)
    propagate_at_launch = false
  }
}
