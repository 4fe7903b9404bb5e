# GPU node groups: taint, scale to zero, capacity, EFA interfaces by network card, placement, NVMe.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name  = "sphinx-x-test"
  zones = ["us-east-1a", "us-east-1b"]
  gpu_nodes = {
    plain    = { instance_type = "g5.xlarge" }
    small    = { instance_type = "g5.xlarge", capacity = "spot" }
    large    = { instance_type = "p5.48xlarge", capacity = "on-demand", zone = "us-east-1b", efa = true, max = 8 }
    reserved = { instance_type = "p5.48xlarge", capacity = "reservation", reservation_id = "cr-0123456789abcdef0", zone = "us-east-1a", efa = true, placement_group = "made-with-the-reservation", max = 4 }
    block    = { instance_type = "p6-b200.48xlarge", capacity = "capacity-block", reservation_id = "cr-0fedcba9876543210", zone = "us-east-1a", efa = true, max = 2 }
  }
}

override_data {
  target = data.aws_ec2_instance_type.gpu["p5.48xlarge"]
  values = {
    efa_maximum_interfaces     = 32
    gpus                       = [{ count = 8, manufacturer = "NVIDIA", memory_size = 81920, name = "H100" }]
    instance_storage_supported = true
    maximum_network_cards      = 32
    supported_architectures    = ["x86_64"]
  }
}

# A type whose first card has no EFA: more cards than EFA interfaces.
override_data {
  target = data.aws_ec2_instance_type.gpu["p6-b200.48xlarge"]
  values = {
    efa_maximum_interfaces     = 8
    gpus                       = [{ count = 8, manufacturer = "NVIDIA", memory_size = 184320, name = "B200" }]
    instance_storage_supported = true
    maximum_network_cards      = 9
    supported_architectures    = ["x86_64"]
  }
}

run "every_gpu_node_is_tainted_and_may_go_to_zero" {
  command = apply

  assert {
    condition     = alltrue([for group in aws_eks_node_group.gpu : one(group.taint).key == "nvidia.com/gpu" && one(group.taint).effect == "NO_SCHEDULE"])
    error_message = "Only pods that ask for GPUs come to GPU nodes."
  }
  assert {
    condition     = alltrue([for group in aws_eks_node_group.gpu : group.scaling_config[0].min_size == 0 && group.scaling_config[0].desired_size == 0])
    error_message = "While nothing trains, no GPU is paid for."
  }
  assert {
    condition     = alltrue([for group in aws_eks_node_group.gpu : group.ami_type == "AL2023_x86_64_NVIDIA"])
    error_message = "GPU nodes have the driver."
  }
  assert {
    condition     = alltrue([for group in aws_eks_node_group.gpu : group.labels["nvidia.com/gpu.present"] == "true" && group.labels["sphinx-x/pool"] == "gpu"])
    error_message = "NVIDIA's device plugin and the chart find GPU nodes by their labels."
  }
  assert {
    condition     = length(aws_eks_node_group.cpu.taint) == 0
    error_message = "CPU nodes take everything else."
  }
}

run "capacity" {
  command = apply

  assert {
    condition     = { for name, group in aws_eks_node_group.gpu : name => group.capacity_type } == { plain = "ON_DEMAND", small = "SPOT", large = "ON_DEMAND", reserved = "ON_DEMAND", block = "CAPACITY_BLOCK" }
    error_message = "Each group has the capacity that was asked for."
  }
  assert {
    condition     = { for name, template in aws_launch_template.gpu : name => [for one in template.capacity_reservation_specification : one.capacity_reservation_target[0].capacity_reservation_id] } == { plain = [], small = [], large = [], reserved = ["cr-0123456789abcdef0"], block = ["cr-0fedcba9876543210"] }
    error_message = "Reserved capacity is used by the group that names it."
  }
  assert {
    condition     = [for name, template in aws_launch_template.gpu : name if length(template.instance_market_options) > 0] == ["block"] && aws_launch_template.gpu["block"].instance_type == "p6-b200.48xlarge" && aws_launch_template.gpu["large"].instance_type == null
    error_message = "A capacity block names its market and its type in the launch template."
  }
}

run "efa_and_placement" {
  command = apply

  assert {
    condition     = keys(aws_placement_group.gpu) == ["large"] && aws_placement_group.gpu["large"].strategy == "cluster"
    error_message = "A placement group is made for on-demand nodes with EFA alone."
  }
  assert {
    condition     = { for name, template in aws_launch_template.gpu : name => [for one in template.placement : one.group_name] } == { plain = [], small = [], large = ["sphinx-x-test-large"], reserved = ["made-with-the-reservation"], block = [] }
    error_message = "Nodes without EFA and nodes of a capacity block have no placement group; a reservation's is the one it was made in."
  }
  assert {
    condition     = [for name, template in aws_launch_template.gpu : name if length(template.network_interfaces) > 0] == ["block", "large", "reserved"]
    error_message = "Only groups with EFA name network interfaces."
  }
  assert {
    condition     = [for one in aws_launch_template.gpu["large"].network_interfaces : one.interface_type if one.network_card_index == 0] == ["interface", "efa-only"] && length([for one in aws_launch_template.gpu["large"].network_interfaces : one if one.interface_type == "efa-only"]) == 32
    error_message = "A p5.48xlarge has an ordinary interface and 32 for EFA alone."
  }
  assert {
    condition     = length(distinct([for one in aws_launch_template.gpu["large"].network_interfaces : "${one.network_card_index}/${one.device_index}"])) == 33
    error_message = "No two interfaces are in the same place."
  }
  assert {
    condition     = [for one in aws_launch_template.gpu["block"].network_interfaces : one.network_card_index if one.interface_type == "efa-only"] == [1, 2, 3, 4, 5, 6, 7, 8]
    error_message = "Where card 0 has no EFA, the others have it."
  }
  assert {
    condition     = aws_eks_node_group.gpu["large"].subnet_ids == toset([aws_subnet.private["us-east-1b"].id]) && length(aws_eks_node_group.gpu["small"].subnet_ids) == 2
    error_message = "Nodes with EFA are in one zone, others in all."
  }
  assert {
    condition     = aws_vpc_security_group_ingress_rule.efa.ip_protocol == "-1" && aws_vpc_security_group_egress_rule.efa.ip_protocol == "-1" && aws_vpc_security_group_ingress_rule.efa.cidr_ipv4 == null
    error_message = "EFA traffic is allowed between GPU nodes, both ways, and from nowhere else."
  }
  assert {
    condition     = { for name, tag in aws_autoscaling_group_tag.efa : name => one(tag.tag).value } == { large = "32", reserved = "32", block = "8" }
    error_message = "The autoscaler knows what EFA a node would have before there is one."
  }
  assert {
    condition     = output.efa_interfaces == { plain = 0, small = 0, large = 32, reserved = 32, block = 8 }
    error_message = "The chart is told how many EFA interfaces a node has."
  }
}

run "disks" {
  command = apply

  assert {
    condition     = alltrue([for template in aws_launch_template.gpu : strcontains(base64decode(template.user_data), "strategy: RAID0")])
    error_message = "The instance's NVMe disks are one volume for images and temporary files."
  }
  assert {
    condition     = alltrue([for template in aws_launch_template.gpu : one(one(template.block_device_mappings).ebs).encrypted == "true" && template.metadata_options[0].http_tokens == "required"])
    error_message = "Root volumes are encrypted, and a pod cannot fetch the node's credentials."
  }
}
