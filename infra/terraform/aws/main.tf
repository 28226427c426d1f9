locals {
  # Condition keys of an OIDC provider are named by its URL without the scheme.
  issuer = trimprefix(var.issuer_url, "https://")
}

resource "aws_iam_openid_connect_provider" "writ" {
  url            = var.issuer_url
  client_id_list = [var.audience]
  tags           = var.tags
}

# Who may take a credential from a role: a token of this broker, for AWS, for one of the role's agents (sub `agent:NAME`) or for reading what people approve (`writ:state`), and nothing else. TagSession and
# SetSourceIdentity are needed because the token carries both; without SourceIdentity a single session could not be denied.
data "aws_iam_policy_document" "mint_trust" {
  for_each = var.roles
  statement {
    actions = ["sts:AssumeRoleWithWebIdentity", "sts:TagSession", "sts:SetSourceIdentity"]
    principals {
      type        = "Federated"
      identifiers = [aws_iam_openid_connect_provider.writ.arn]
    }
    condition {
      test     = "StringEquals"
      variable = "${local.issuer}:aud"
      values   = [var.audience]
    }
    condition {
      test     = "StringLike"
      variable = "${local.issuer}:sub"
      values   = concat([for agent in each.value.agents : "agent:${agent}"], ["writ:state"])
    }
  }
}

# The broker itself, not on behalf of any agent: its tokens for this have a subject that no agent's token can have.
data "aws_iam_policy_document" "revoke_trust" {
  statement {
    actions = ["sts:AssumeRoleWithWebIdentity"]
    principals {
      type        = "Federated"
      identifiers = [aws_iam_openid_connect_provider.writ.arn]
    }
    condition {
      test     = "StringEquals"
      variable = "${local.issuer}:aud"
      values   = [var.audience]
    }
    condition {
      test     = "StringEquals"
      variable = "${local.issuer}:sub"
      values   = ["writ:revoker"]
    }
  }
}

# The revoke role may write inline policies of the roles below. IAM has no condition on an inline policy's name or content, so without a boundary it
# could write itself a way up; with it, nothing written there reaches past these actions.
data "aws_iam_policy_document" "boundary" {
  statement {
    sid       = "Ceiling"
    actions   = var.boundary_actions
    resources = ["*"]
  }
  statement {
    sid       = "NoWayUp"
    effect    = "Deny"
    actions   = ["iam:*", "sts:AssumeRole", "sts:GetFederationToken", "organizations:*", "account:*"]
    resources = ["*"]
  }
}

resource "aws_iam_policy" "boundary" {
  name        = "writ-boundary"
  description = "The most that any role of the Writ broker can ever do"
  policy      = data.aws_iam_policy_document.boundary.json
  tags        = var.tags
}

resource "aws_iam_role" "mint" {
  for_each             = var.roles
  name                 = "writ-${each.key}"
  description          = "Credentials of AI agents are cut from this role by the Writ broker"
  assume_role_policy   = data.aws_iam_policy_document.mint_trust[each.key].json
  permissions_boundary = aws_iam_policy.boundary.arn
  max_session_duration = each.value.max_session_duration
  tags                 = var.tags
}

# Managed, not inline: a role's inline policies share 10,240 characters, and those belong to the broker's denials. For the same reason Terraform must not
# manage the roles' inline policies exclusively: it would delete denials that stand.
resource "aws_iam_policy" "capability" {
  for_each    = var.roles
  name        = "writ-${each.key}"
  description = "The most that agents may do through writ-${each.key}"
  policy      = each.value.policy
  tags        = var.tags
}

resource "aws_iam_role_policy_attachment" "capability" {
  for_each   = var.roles
  role       = aws_iam_role.mint[each.key].name
  policy_arn = aws_iam_policy.capability[each.key].arn
}

data "aws_iam_policy_document" "revoke" {
  statement {
    sid       = "WriteDenials"
    actions   = ["iam:PutRolePolicy", "iam:GetRolePolicy", "iam:DeleteRolePolicy", "iam:ListRolePolicies"]
    resources = [for role in aws_iam_role.mint : role.arn]
  }
  # What people approve may be the state of a role (approval.state): which policies are attached, in which version.
  statement {
    sid       = "ReadAttached"
    actions   = ["iam:ListAttachedRolePolicies"]
    resources = [for role in aws_iam_role.mint : role.arn]
  }
  statement {
    sid       = "ReadVersions"
    actions   = ["iam:GetPolicy"]
    resources = ["arn:*:iam::*:policy/*"]
  }
  # Nothing added to this role later, by mistake, reaches its own rights or the boundary.
  statement {
    sid    = "NeverItself"
    effect = "Deny"
    actions = [
      "iam:PutRolePermissionsBoundary", "iam:DeleteRolePermissionsBoundary", "iam:UpdateAssumeRolePolicy", "iam:AttachRolePolicy",
      "iam:CreatePolicyVersion", "iam:SetDefaultPolicyVersion", "iam:CreateRole", "iam:PassRole",
    ]
    resources = ["*"]
  }
}

resource "aws_iam_role" "revoke" {
  name                 = "writ-revoke"
  description          = "The Writ broker denies single sessions with this role"
  assume_role_policy   = data.aws_iam_policy_document.revoke_trust.json
  max_session_duration = 3600
  tags                 = var.tags
}

resource "aws_iam_policy" "revoke" {
  name   = "writ-revoke"
  policy = data.aws_iam_policy_document.revoke.json
  tags   = var.tags
}

resource "aws_iam_role_policy_attachment" "revoke" {
  role       = aws_iam_role.revoke.name
  policy_arn = aws_iam_policy.revoke.arn
}
