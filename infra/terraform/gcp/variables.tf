variable "project" {
  description = "Project id in which the pool's service accounts live (GOOGLE_CLOUD_PROJECT of the broker)."
  type        = string
}

variable "issuer_url" {
  description = "WRIT_ISSUER_URL of the broker: public, https, no trailing slash. Google fetches its keys from there."
  type        = string
  validation {
    condition     = can(regex("^https://[a-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._~/-]*[A-Za-z0-9._~-])?$", var.issuer_url))
    error_message = "An https URL without trailing slash, query or fragment."
  }
}

variable "subject" {
  description = "The sub claim of the broker's tokens for GCP (WRIT_GCP_BROKER_SUBJECT)."
  type        = string
  default     = "writ-broker"
  validation {
    condition     = length(var.subject) > 0 && length(var.subject) <= 127 && can(regex("^[A-Za-z0-9:._-]+$", var.subject))
    error_message = "1 to 127 letters, digits, colons, dots, underscores or hyphens: it is quoted in an attribute condition."
  }
}

variable "pool_id" {
  description = "Id of the workload identity pool. A deleted pool's id stays taken for 30 days."
  type        = string
  default     = "writ"
  validation {
    condition     = can(regex("^[a-z0-9-]{4,32}$", var.pool_id)) && !startswith(var.pool_id, "gcp-")
    error_message = "4 to 32 lower-case letters, digits and hyphens, not starting with gcp-."
  }
}

variable "pool_size" {
  description = "Service accounts in the pool = credentials that can be alive, or in quarantine after a revocation, at the same time."
  type        = number
  default     = 10
  validation {
    condition     = var.pool_size >= 1 && var.pool_size <= 100 && floor(var.pool_size) == var.pool_size
    error_message = "A whole number from 1 to 100."
  }
}

variable "bucket_roles" {
  description = "What the pool's accounts may do, at most: bucket → storage roles. Every credential is narrowed further by a Credential Access Boundary."
  type        = map(list(string))
  default     = {}
}

variable "shared_service_accounts" {
  description = "E-mails of existing accounts that a manifest may name (WRIT_GCP_SHARED_SERVICE_ACCOUNTS). Credentials on them cannot be revoked early."
  type        = list(string)
  default     = []
}
