# The bucket: encrypted by its own key, versioned, closed to the public, and kept from filling up with what nobody needs.

locals {
  bucket_name = var.bucket_name != "" ? var.bucket_name : "${var.name}-${local.account}-${data.aws_region.current.name}"
  bucket_arn  = "${local.arn}:s3:::${local.bucket_name}"

  # A log or a manifest below runs/ is smaller; a checkpoint of any size but nano has files that are larger.
  checkpoint_bytes = 256 * 1024 * 1024
}

resource "aws_kms_key" "bucket" {
  description             = "Objects of ${local.bucket_name}"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  tags                    = local.tags
}

resource "aws_s3_bucket" "this" {
  bucket        = local.bucket_name
  force_destroy = var.bucket_force_destroy
  tags          = local.tags
}

resource "aws_s3_bucket_ownership_controls" "this" {
  bucket = aws_s3_bucket.this.id
  rule { object_ownership = "BucketOwnerEnforced" }
}

resource "aws_s3_bucket_public_access_block" "this" {
  bucket                  = aws_s3_bucket.this.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  bucket = aws_s3_bucket.this.id
  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.bucket.arn
    }
    # One call of KMS for many objects: without it, shards and checkpoints are paid by the request.
    bucket_key_enabled = true
  }
}

resource "aws_s3_bucket_versioning" "this" {
  bucket = aws_s3_bucket.this.id
  versioning_configuration { status = "Enabled" }
}

resource "aws_s3_bucket_policy" "this" {
  bucket = aws_s3_bucket.this.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "TlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [local.bucket_arn, "${local.bucket_arn}/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      {
        # Whoever names another key would make objects that our roles cannot read; naming none gives the bucket's.
        Sid       = "OwnKeyOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:PutObject"
        Resource  = ["${local.bucket_arn}/*"]
        Condition = {
          StringNotEqualsIfExists = { "s3:x-amz-server-side-encryption-aws-kms-key-id" = aws_kms_key.bucket.arn }
          Null                    = { "s3:x-amz-server-side-encryption-aws-kms-key-id" = "false" }
        }
      },
    ]
  })
  depends_on = [aws_s3_bucket_public_access_block.this]
}

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    id     = "parts-of-uploads-that-never-ended"
    status = "Enabled"
    filter {}
    abort_incomplete_multipart_upload { days_after_initiation = 7 }
  }

  rule {
    # The trainer keeps a few checkpoints and deletes the rest; with versioning each deleted one would stay for noncurrent_days.
    id     = "checkpoints-that-the-trainer-deleted"
    status = "Enabled"
    filter { prefix = "${var.store_prefix}/runs/" }
    noncurrent_version_expiration { noncurrent_days = 1 }
  }

  rule {
    id     = "what-was-deleted-or-overwritten"
    status = "Enabled"
    filter {}
    noncurrent_version_expiration { noncurrent_days = var.noncurrent_days }
    expiration { expired_object_delete_marker = true }
  }

  dynamic "rule" {
    for_each = var.checkpoint_days > 0 ? [var.checkpoint_days] : []
    content {
      id     = "checkpoints-that-nobody-went-on-with"
      status = "Enabled"
      filter {
        and {
          prefix                   = "${var.store_prefix}/runs/"
          object_size_greater_than = local.checkpoint_bytes
        }
      }
      expiration { days = rule.value }
    }
  }

  depends_on = [aws_s3_bucket_versioning.this]
}
