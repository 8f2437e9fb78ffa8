"""The Azure Resource Manager front end: what `az`, the Azure SDKs and Terraform speak to."""
