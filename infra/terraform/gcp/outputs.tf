output "environment" {
  description = "Environment variables of the broker."
  value = {
    GOOGLE_CLOUD_PROJECT                = var.project
    WRIT_GCP_WORKLOAD_IDENTITY_PROVIDER = google_iam_workload_identity_pool_provider.writ.name
    WRIT_GCP_BROKER_SUBJECT             = var.subject
    WRIT_GCP_SERVICE_ACCOUNTS           = join(",", google_service_account.pool[*].email)
    WRIT_GCP_SHARED_SERVICE_ACCOUNTS    = join(",", var.shared_service_accounts)
  }
}
