"""CertificateSigningRequests: approved for kubelets, signed by the cluster's CA, and cleaned up."""
