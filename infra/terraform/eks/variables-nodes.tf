# What a person decides about the machines: CPU nodes for everything but training, GPU node groups for training and evaluation.

variable "cpu_nodes" {
  description = "Nodes for Kubeflow, MLflow, the reaper and every pipeline step without a GPU."
  type = object({
    instance_types = optional(list(string), ["m7i.2xlarge", "m6i.2xlarge"])
    min            = optional(number, 2)
    max            = optional(number, 6)
    root_gib       = optional(number, 100)
  })
  default = {}

  validation {
    condition     = var.cpu_nodes.min >= 1 && var.cpu_nodes.max >= var.cpu_nodes.min
    error_message = "cpu_nodes must have min of at least 1 and max of at least min; Kubeflow's own services run there."
  }
}

variable "gpu_nodes" {
  description = <<-TEXT
    GPU node groups by name.

    instance_type: with NVIDIA GPUs; p4d.24xlarge, p5.48xlarge, g5.xlarge …
    capacity: on-demand, spot, reservation (an On-Demand Capacity Reservation) or capacity-block; the last two need reservation_id.
    zone: where its nodes are; empty means all zones, which EFA does not allow.
    efa: an EFA interface on every network card that has one; on-demand nodes also get a cluster placement group.
    placement_group: name of an existing one to use instead, such as the one that a reservation was made in.
    min, max: the autoscaler stays between them; min 0 costs nothing while nothing trains.
    desired: nodes at the beginning; the autoscaler moves it afterwards and Terraform leaves it alone.
    root_gib: the root volume. Images, /tmp and checkpoints on their way go to the NVMe disks of the instance where it has some (RAID 0).
    labels: further node labels.
  TEXT
  type = map(object({
    instance_type   = string
    capacity        = optional(string, "on-demand")
    reservation_id  = optional(string, "")
    zone            = optional(string, "")
    efa             = optional(bool, false)
    placement_group = optional(string, "")
    min             = optional(number, 0)
    max             = optional(number, 1)
    desired         = optional(number, 0)
    root_gib        = optional(number, 200)
    labels          = optional(map(string), {})
  }))
  default = {}

  validation {
    condition     = alltrue([for name in keys(var.gpu_nodes) : can(regex("^[a-z][a-z0-9-]{0,19}$", name))])
    error_message = "The names of gpu_nodes must have at most 20 lower case letters, digits and hyphens."
  }

  validation {
    condition = alltrue([
      for group in values(var.gpu_nodes) : contains(["on-demand", "spot", "reservation", "capacity-block"], group.capacity)
    ])
    error_message = "capacity of a GPU node group must be on-demand, spot, reservation or capacity-block."
  }

  validation {
    condition = alltrue([
      for group in values(var.gpu_nodes) :
      contains(["reservation", "capacity-block"], group.capacity) == can(regex("^cr-[0-9a-f]+$", group.reservation_id))
    ])
    error_message = "reservation_id (cr-…) goes with capacity reservation or capacity-block, and with nothing else."
  }

  validation {
    condition = alltrue([
      for group in values(var.gpu_nodes) :
      group.zone != "" || !(group.efa || contains(["reservation", "capacity-block"], group.capacity))
    ])
    error_message = "A GPU node group with EFA or reserved capacity must name its zone; such nodes are all in one zone."
  }

  validation {
    condition     = alltrue([for group in values(var.gpu_nodes) : group.zone == "" || contains(var.zones, group.zone)])
    error_message = "zone of a GPU node group must be one of zones."
  }

  validation {
    condition = alltrue([
      for group in values(var.gpu_nodes) :
      group.min >= 0 && group.max >= 1 && group.max >= group.min && group.desired >= group.min && group.desired <= group.max
    ])
    error_message = "A GPU node group must have 0 <= min <= desired <= max, and max of at least 1."
  }

  validation {
    condition     = alltrue([for group in values(var.gpu_nodes) : group.placement_group == "" || group.efa])
    error_message = "placement_group goes with efa = true; without EFA, nodes near each other gain nothing and are harder to get."
  }

  validation {
    condition     = alltrue([for group in values(var.gpu_nodes) : !(group.efa && group.capacity == "spot")])
    error_message = "EFA goes badly with spot: a placement group rarely gets all its nodes at once and loses them one by one; choose on-demand, reservation or capacity-block."
  }
}
