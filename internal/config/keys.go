package config

import "slices"

// keySources are the settings that each name where the signing key is.
var keySources = []string{"COSIGN_KEY_PATH", "VAULT_ADDR", "BAO_ADDR", "FABRIC_PKCS11_URI"}

// KeySources returns the settings that name a signing key. More than one is a
// mistake that whoever signs refuses: nobody could say which key was meant.
func (c Config) KeySources() []string {
	return slices.DeleteFunc(slices.Clone(keySources), func(name string) bool { return !c.Set(name) })
}

// Transit returns the address of the transit engine's server and the token for
// it, by Vault's names or by OpenBao's.
func (c Config) Transit() (address string, token Secret) {
	if c.VaultAddr != "" {
		return c.VaultAddr, c.VaultToken
	}
	return c.BaoAddr, c.BaoToken
}
