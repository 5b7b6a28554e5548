# SPDX-License-Identifier: Apache-2.0
"""A stand-in for Azure Key Vault, Entra ID and the identity endpoints of Azure's hosts. For tests only."""
