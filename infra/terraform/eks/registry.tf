# Registries for our two images. Tags are immutable: a registered model names the image that made it, and that must stay the same.

resource "aws_ecr_repository" "image" {
  for_each             = toset(["ops", "train"])
  name                 = "${var.name}/sphinx-x-${each.key}"
  image_tag_mutability = "IMMUTABLE"
  tags                 = local.tags

  image_scanning_configuration { scan_on_push = true }
  encryption_configuration { encryption_type = "AES256" }
}

resource "aws_ecr_lifecycle_policy" "image" {
  for_each   = aws_ecr_repository.image
  repository = each.value.name
  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description  = "layers that no tag names any more"
      selection    = { tagStatus = "untagged", countType = "sinceImagePushed", countUnit = "days", countNumber = var.untagged_image_days }
      action       = { type = "expire" }
    }]
  })
}
