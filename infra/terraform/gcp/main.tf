data "google_project" "this" {
  project_id = var.project
}

resource "google_project_service" "needed" {
  for_each           = toset(["iam.googleapis.com", "iamcredentials.googleapis.com", "sts.googleapis.com"])
  project            = var.project
  service            = each.key
  disable_on_destroy = false
}

resource "google_iam_workload_identity_pool" "writ" {
  project                   = var.project
  workload_identity_pool_id = var.pool_id
  display_name              = "Writ"
  description               = "Tokens of the Writ credential broker"
  depends_on                = [google_project_service.needed]
}

resource "google_iam_workload_identity_pool_provider" "writ" {
  project                            = var.project
  workload_identity_pool_id          = google_iam_workload_identity_pool.writ.workload_identity_pool_id
  workload_identity_pool_provider_id = "broker"
  display_name                       = "Writ broker"
  attribute_mapping                  = { "google.subject" = "assertion.sub" }
  # The broker signs tokens for other clouds with the same keys: only the one made for GCP passes, and the audience below is checked as well.
  attribute_condition = "assertion.sub == '${var.subject}'"
  oidc {
    issuer_uri = var.issuer_url
    # No allowed_audiences: then the audience must be this provider's own full resource name.
  }
}

# One account per live credential: disabling an account is the only way to end a Google access token early, and it ends all of that account's tokens.
resource "google_service_account" "pool" {
  count        = var.pool_size
  project      = var.project
  account_id   = format("writ-pool-%03d", count.index + 1)
  display_name = format("Writ pool %03d", count.index + 1)
  description  = "Lent by the Writ broker to one AI agent at a time; do not use for anything else"
}

locals {
  broker = join("", [
    "principal://iam.googleapis.com/projects/", data.google_project.this.number,
    "/locations/global/workloadIdentityPools/", google_iam_workload_identity_pool.writ.workload_identity_pool_id, "/subject/", var.subject,
  ])
  grants = merge([
    for bucket, roles in var.bucket_roles : {
      for pair in setproduct(roles, range(var.pool_size)) : "${bucket} ${pair[0]} ${pair[1]}" => {
        bucket = bucket, role = pair[0], account = pair[1]
      }
    }
  ]...)
}

# Both roles are bound on the pool's accounts, never on the project: the broker can mint for, disable and enable these and no other.
resource "google_project_iam_custom_role" "mint" {
  project     = var.project
  role_id     = "writMint"
  title       = "Writ: mint access tokens"
  permissions = ["iam.serviceAccounts.getAccessToken"]
}

resource "google_project_iam_custom_role" "revoke" {
  project     = var.project
  role_id     = "writRevoke"
  title       = "Writ: disable and enable pool accounts"
  permissions = ["iam.serviceAccounts.get", "iam.serviceAccounts.disable", "iam.serviceAccounts.enable"]
}

resource "google_service_account_iam_member" "mint" {
  count              = var.pool_size
  service_account_id = google_service_account.pool[count.index].name
  role               = google_project_iam_custom_role.mint.id
  member             = local.broker
}

# Shared accounts: mint only. The broker must not be able to disable an account that others use.
resource "google_service_account_iam_member" "shared" {
  for_each           = toset(var.shared_service_accounts)
  service_account_id = "projects/${var.project}/serviceAccounts/${each.key}"
  role               = google_project_iam_custom_role.mint.id
  member             = local.broker
}

resource "google_service_account_iam_member" "revoke" {
  count              = var.pool_size
  service_account_id = google_service_account.pool[count.index].name
  role               = google_project_iam_custom_role.revoke.id
  member             = local.broker
}

resource "google_storage_bucket_iam_member" "pool" {
  for_each = local.grants
  bucket   = each.value.bucket
  role     = each.value.role
  member   = "serviceAccount:${google_service_account.pool[each.value.account].email}"
}
