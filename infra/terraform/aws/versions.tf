terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.81, < 7.0" # from 5.81 the OIDC provider's thumbprint is optional
    }
  }
}
