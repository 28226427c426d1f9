variable "issuer_url" {
  description = "WRIT_ISSUER_URL of the broker: public, https, no trailing slash. AWS fetches its keys from there."
  type        = string
  validation {
    condition     = can(regex("^https://[a-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._~/-]*[A-Za-z0-9._~-])?$", var.issuer_url))
    error_message = "An https URL without trailing slash, query or fragment."
  }
}

variable "audience" {
  description = "The aud claim of the broker's tokens for AWS (WRIT_AWS_AUDIENCE)."
  type        = string
  default     = "sts.amazonaws.com"
}

variable "roles" {
  description = <<-EOT
    The roles that agents' credentials are cut from. Key: name after `writ-`. `policy` (JSON) is the most that any agent may ever do through the
    role; every credential carries a narrower session policy on top. `agents`: the agents that may get credentials from the role, whatever any manifest
    says; default all.
  EOT
  type = map(object({
    policy               = string
    agents               = optional(list(string), ["*"])
    max_session_duration = optional(number, 3600)
  }))
  validation {
    condition     = alltrue([for name in keys(var.roles) : can(regex("^[a-z0-9][a-z0-9-]{0,57}$", name)) && !contains(["revoke", "boundary"], name)])
    error_message = "Role names: lower-case letters, digits and hyphens, at most 58; not revoke or boundary, which are taken."
  }
  validation {
    condition     = alltrue(flatten([for role in values(var.roles) : [for agent in role.agents : can(regex("^([A-Za-z0-9._-]+|[*])$", agent))]]))
    error_message = "Agents: names as in the manifests, or * for all."
  }
  validation {
    condition     = alltrue([for role in values(var.roles) : can(jsondecode(role.policy))])
    error_message = "Each policy must be JSON (use jsonencode or an aws_iam_policy_document)."
  }
  validation {
    condition     = alltrue([for role in values(var.roles) : role.max_session_duration >= 3600 && role.max_session_duration <= 43200])
    error_message = "AWS allows a max_session_duration of 3600 to 43200 seconds."
  }
}

variable "boundary_actions" {
  description = "Ceiling over all roles together: the actions any of them can ever be given, even by somebody who holds the broker's own rights."
  type        = list(string)
  default = [
    "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListBucket", "s3:GetBucketLocation",
    "dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:BatchWriteItem",
    "sqs:SendMessage", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes", "sqs:GetQueueUrl",
    "secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret",
    "kms:Decrypt", "kms:GenerateDataKey",
  ]
}

variable "tags" {
  description = "Tags on everything made here."
  type        = map(string)
  default     = {}
}
