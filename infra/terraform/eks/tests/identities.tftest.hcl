# Least privilege: each role is taken by the service accounts it names alone, and reaches what it needs alone.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name                      = "sphinx-x-test"
  zones                     = ["us-east-1a", "us-east-1b"]
  bucket_name               = "the-bucket"
  pipeline_service_accounts = ["kubeflow:pipeline-runner", "team-a:default-editor"]
  raw_data_bucket_arns      = ["arn:aws:s3:::raw-data"]
}

run "trust" {
  command = apply

  assert {
    condition = alltrue([
      for name, role in aws_iam_role.service :
      [for statement in jsondecode(role.assume_role_policy).Statement : statement.Condition.StringEquals["oidc.eks.us-east-1.amazonaws.com/id/MOCKED:aud"]] == ["sts.amazonaws.com"]
    ])
    error_message = "A token for anyone but STS takes no role."
  }
  assert {
    condition = {
      for name, role in aws_iam_role.service : name =>
      flatten([for statement in jsondecode(role.assume_role_policy).Statement : statement.Condition.StringEquals["oidc.eks.us-east-1.amazonaws.com/id/MOCKED:sub"]])
      } == {
      pipelines  = ["system:serviceaccount:kubeflow:pipeline-runner", "system:serviceaccount:team-a:default-editor"]
      training   = ["system:serviceaccount:kubeflow:sphinx-x-training"]
      mlflow     = ["system:serviceaccount:kubeflow:sphinx-x-mlflow"]
      autoscaler = ["system:serviceaccount:kube-system:cluster-autoscaler"]
      ebs-csi    = ["system:serviceaccount:kube-system:ebs-csi-controller-sa"]
      vpc-cni    = ["system:serviceaccount:kube-system:aws-node"]
    }
    error_message = "Each role trusts the named service accounts and no other, by equality and without stars."
  }
}

run "no_role_may_do_everything" {
  command = apply

  assert {
    condition = length([
      for action in flatten([for policy in aws_iam_role_policy.service : [for statement in jsondecode(policy.policy).Statement : statement.Action]]) :
      action if strcontains(action, "*") || startswith(action, "iam:") || startswith(action, "sts:")
    ]) == 0
    error_message = "No role has an action with a star, or one on identities."
  }
  assert {
    condition = [
      for name, policy in aws_iam_role_policy.service : name
      if anytrue([for statement in jsondecode(policy.policy).Statement : contains(flatten([statement.Resource]), "*")])
    ] == ["autoscaler"]
    error_message = "Only the autoscaler's look-ups, which know no resource, are for all resources."
  }
  assert {
    condition = alltrue([
      for statement in jsondecode(aws_iam_role_policy.service["autoscaler"].policy).Statement :
      statement.Sid == "Look" || try(statement.Condition.StringEquals["aws:ResourceTag/k8s.io/cluster-autoscaler/sphinx-x-test"], "") == "owned"
    ])
    error_message = "The autoscaler changes this cluster's own groups alone."
  }
  assert {
    condition = alltrue(flatten([
      for policy in aws_iam_role_policy.service : [
        for statement in jsondecode(policy.policy).Statement :
        try(statement.Condition.StringEquals["kms:ViaService"], "") == "s3.us-east-1.amazonaws.com" if anytrue([for action in statement.Action : startswith(action, "kms:")])
      ]
    ]))
    error_message = "The bucket's key is used through S3 alone."
  }
}

run "training_writes_its_own_folders_alone" {
  command = apply

  assert {
    condition = toset(flatten([
      for statement in jsondecode(aws_iam_role_policy.service["training"].policy).Statement : statement.Resource
      if contains(statement.Action, "s3:PutObject") || contains(statement.Action, "s3:DeleteObject")
      ])) == toset([
      "arn:aws:s3:::the-bucket/sphinx-x/runs/*", "arn:aws:s3:::the-bucket/sphinx-x/models/*", "arn:aws:s3:::the-bucket/sphinx-x/lengths/*",
    ])
    error_message = "A training node can neither change nor delete a corpus, a result or a base."
  }
  assert {
    condition     = !strcontains(aws_iam_role_policy.service["training"].policy, "raw-data")
    error_message = "A training node reads corpora, not raw data."
  }
}

run "pipelines_read_raw_data_and_never_write_it" {
  command = apply

  assert {
    condition = toset(flatten([
      for statement in jsondecode(aws_iam_role_policy.service["pipelines"].policy).Statement : statement.Action
      if anytrue([for resource in flatten([statement.Resource]) : startswith(resource, "arn:aws:s3:::raw-data")])
    ])) == toset(["s3:ListBucket", "s3:GetObject"])
    error_message = "Raw data is read only."
  }
  assert {
    condition = alltrue(flatten([
      for statement in jsondecode(aws_iam_role_policy.service["pipelines"].policy).Statement : [
        for resource in statement.Resource : !endswith(resource, "the-bucket/*")
      ]
    ]))
    error_message = "Pipelines write the store, Kubeflow's and MLflow's folders, not the whole bucket."
  }
}

run "mlflow_has_its_own_folder_alone" {
  command = apply

  assert {
    condition = toset(flatten([
      for statement in jsondecode(aws_iam_role_policy.service["mlflow"].policy).Statement : statement.Resource
      if anytrue([for action in statement.Action : endswith(action, "Object")])
    ])) == toset(["arn:aws:s3:::the-bucket/sphinx-x/mlflow/*"])
    error_message = "MLflow reaches its own folder alone."
  }
}

run "nodes_pull_images_and_nothing_more" {
  command = apply

  assert {
    condition     = toset([for attachment in aws_iam_role_policy_attachment.node : attachment.policy_arn]) == toset(["arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy", "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryPullOnly"])
    error_message = "A node joins the cluster and pulls images; the network's rights are the addon's own."
  }
  assert {
    condition     = aws_launch_template.cpu.metadata_options[0].http_tokens == "required" && aws_launch_template.cpu.metadata_options[0].http_put_response_hop_limit == 1
    error_message = "A pod cannot fetch the node's credentials."
  }
}
