# Who may do what in AWS: one role per service account (IRSA), each with what it needs and nothing else. The reaper, the uploader and
# the launcher's Kubernetes rights are the chart's; the reaper needs no AWS role at all.

locals {
  issuer = replace(aws_eks_cluster.this.identity[0].oidc[0].issuer, "https://", "")
  store  = "${local.bucket_arn}/${var.store_prefix}"

  # What the training nodes write; everything else of the store they only read.
  training_writes = ["runs", "models", "lengths"]

  # Both buckets' keys are used through S3 alone, so a role cannot decrypt anything else with them.
  use_bucket_key = {
    Sid       = "BucketKey"
    Effect    = "Allow"
    Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
    Resource  = [aws_kms_key.bucket.arn]
    Condition = { StringEquals = { "kms:ViaService" = "s3.${data.aws_region.current.name}.amazonaws.com" } }
  }
  read_raw_data = length(var.raw_data_bucket_arns) == 0 ? [] : [{
    Sid      = "RawData"
    Effect   = "Allow"
    Action   = ["s3:ListBucket", "s3:GetObject"]
    Resource = flatten([for arn in var.raw_data_bucket_arns : [arn, "${arn}/*"]])
  }]
  write_objects = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]

  # Namespace:name of the service accounts that may take a role, and the role's own statements.
  services = {
    pipelines = {
      accounts = var.pipeline_service_accounts
      statements = concat([
        { Sid = "List", Effect = "Allow", Action = ["s3:ListBucket", "s3:GetBucketLocation"], Resource = [local.bucket_arn] },
        # The store, MLflow's folder in it, and the folder in which Kubeflow's launcher keeps the small artifacts of each run.
        { Sid = "Store", Effect = "Allow", Action = local.write_objects, Resource = ["${local.store}/*", "${local.bucket_arn}/kubeflow/*"] },
        local.use_bucket_key,
      ], local.read_raw_data)
    }
    training = {
      accounts = var.training_service_accounts
      statements = [
        { Sid = "List", Effect = "Allow", Action = ["s3:ListBucket"], Resource = [local.bucket_arn], Condition = { StringLike = { "s3:prefix" = [var.store_prefix, "${var.store_prefix}/*"] } } },
        { Sid = "Read", Effect = "Allow", Action = ["s3:GetObject"], Resource = ["${local.store}/*"] },
        { Sid = "Write", Effect = "Allow", Action = local.write_objects, Resource = [for folder in local.training_writes : "${local.store}/${folder}/*"] },
        local.use_bucket_key,
      ]
    }
    mlflow = {
      accounts = [var.mlflow_service_account]
      statements = [
        { Sid = "List", Effect = "Allow", Action = ["s3:ListBucket"], Resource = [local.bucket_arn], Condition = { StringLike = { "s3:prefix" = ["${var.store_prefix}/mlflow", "${var.store_prefix}/mlflow/*"] } } },
        { Sid = "Artifacts", Effect = "Allow", Action = local.write_objects, Resource = ["${local.store}/mlflow/*"] },
        local.use_bucket_key,
      ]
    }
    autoscaler = {
      accounts = ["kube-system:cluster-autoscaler"]
      statements = [
        {
          Sid    = "Look"
          Effect = "Allow"
          Action = [
            "autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeAutoScalingInstances", "autoscaling:DescribeLaunchConfigurations",
            "autoscaling:DescribeScalingActivities", "autoscaling:DescribeTags", "ec2:DescribeImages", "ec2:DescribeInstanceTypes",
            "ec2:DescribeLaunchTemplateVersions", "ec2:GetInstanceTypesFromInstanceRequirements", "eks:DescribeNodegroup",
          ]
          Resource = ["*"] # none of these knows a resource
        },
        {
          Sid       = "Scale"
          Effect    = "Allow"
          Action    = ["autoscaling:SetDesiredCapacity", "autoscaling:TerminateInstanceInAutoScalingGroup"]
          Resource  = ["${local.arn}:autoscaling:${data.aws_region.current.name}:${local.account}:autoScalingGroup:*:autoScalingGroupName/*"]
          Condition = { StringEquals = { "aws:ResourceTag/k8s.io/cluster-autoscaler/${var.name}" = "owned" } }
        },
      ]
    }
    ebs-csi = { accounts = ["kube-system:ebs-csi-controller-sa"], statements = [] }
    vpc-cni = { accounts = ["kube-system:aws-node"], statements = [] }
  }

  # Policies that AWS maintains for its own addons.
  managed_policies = {
    ebs-csi = "service-role/AmazonEBSCSIDriverPolicy"
    vpc-cni = "AmazonEKS_CNI_Policy"
  }
}

resource "aws_iam_openid_connect_provider" "cluster" {
  url            = "https://${local.issuer}"
  client_id_list = ["sts.amazonaws.com"]
  tags           = local.tags
}

resource "aws_iam_role" "service" {
  for_each = local.services
  name     = "${var.name}-${each.key}"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRoleWithWebIdentity"
      Principal = { Federated = aws_iam_openid_connect_provider.cluster.arn }
      Condition = {
        StringEquals = {
          "${local.issuer}:aud" = "sts.amazonaws.com"
          "${local.issuer}:sub" = [for account in each.value.accounts : "system:serviceaccount:${account}"]
        }
      }
    }]
  })
  tags = local.tags
}

resource "aws_iam_role_policy" "service" {
  for_each = { for name, service in local.services : name => service if length(service.statements) > 0 }
  name     = each.key
  role     = aws_iam_role.service[each.key].id
  policy   = jsonencode({ Version = "2012-10-17", Statement = each.value.statements })
}

resource "aws_iam_role_policy_attachment" "service" {
  for_each   = local.managed_policies
  role       = aws_iam_role.service[each.key].name
  policy_arn = "${local.arn}:iam::aws:policy/${each.value}"
}
