"""ValidatingAdmissionPolicies: which requests they and their bindings concern, with which parameters, and what they say."""
