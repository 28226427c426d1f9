output "environment" {
  description = "Environment variables of the broker."
  value = {
    WRIT_AWS_AUTH        = "web_identity"
    WRIT_AWS_AUDIENCE    = var.audience
    WRIT_AWS_ROLES       = join(",", [for role in aws_iam_role.mint : role.arn])
    WRIT_AWS_REVOKE_ROLE = aws_iam_role.revoke.arn
    WRIT_AWS_REVOKE_KEY  = "source_identity"
  }
}

output "role_arns" {
  description = "Key of var.roles → ARN, for the `role` parameter in manifests."
  value       = { for name, role in aws_iam_role.mint : name => role.arn }
}
