package certs

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

// accountKeys are where in the store the CA's account and its key are.
func (a *authority) accountKeys() (account, key string) {
	dir := path.Join("acme", certmagic.StorageKeys.Safe(a.IssuerKey()))
	return path.Join(dir, "account.json"), path.Join(dir, "account.key")
}

// account gives our account with the CA, and makes one where there is none.
// To run Genkan for names of a CA is to agree with that CA's terms.
func (a *authority) account(ctx context.Context, client *acmez.Client) (acme.Account, error) {
	lock := "account_" + a.IssuerKey()
	if err := a.store.Lock(ctx, lock); err != nil {
		return acme.Account{}, err
	}
	defer a.store.Unlock(ctx, lock)
	account, err := a.loadAccount(ctx)
	if !errors.Is(err, fs.ErrNotExist) {
		return account, err
	}
	accountFile, keyFile := a.accountKeys()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return account, err
	}
	account = acme.Account{TermsOfServiceAgreed: true, PrivateKey: key}
	if a.settings.Email != "" {
		account.Contact = []string{"mailto:" + a.settings.Email}
	}
	if a.settings.EABID != "" {
		if err := account.SetExternalAccountBinding(ctx, client.Client, acme.EAB{KeyID: a.settings.EABID, MACKey: a.settings.EABKey}); err != nil {
			return account, fmt.Errorf("eab: %w", err)
		}
	}
	if account, err = client.NewAccount(ctx, account); err != nil {
		return account, fmt.Errorf("new account with %s: %w", a.settings.CA, err)
	}
	keyPEM, err := keyToPEM(key)
	if err != nil {
		return account, err
	}
	text, err := json.MarshalIndent(account, "", "\t")
	if err != nil {
		return account, err
	}
	return account, errors.Join(a.store.Store(ctx, keyFile, keyPEM), a.store.Store(ctx, accountFile, text))
}

// loadAccount reads the account; fs.ErrNotExist where there is none, or half.
func (a *authority) loadAccount(ctx context.Context) (account acme.Account, err error) {
	accountFile, keyFile := a.accountKeys()
	text, err := a.store.Load(ctx, accountFile)
	if err != nil {
		return account, err
	}
	keyPEM, err := a.store.Load(ctx, keyFile)
	if err != nil {
		return account, err
	}
	key, err := certmagic.PEMDecodePrivateKey(keyPEM)
	if err == nil {
		err = json.Unmarshal(text, &account)
	}
	if err != nil {
		return account, fmt.Errorf("the account in %q cannot be read: %w; remove both of its files for a new one", path.Join(a.store.Dir(), accountFile), err)
	}
	account.PrivateKey = key
	return account, nil
}

// forgetAccount is for a CA that does not know ours any more.
func (a *authority) forgetAccount(ctx context.Context) error {
	accountFile, keyFile := a.accountKeys()
	return errors.Join(a.store.Delete(ctx, accountFile), a.store.Delete(ctx, keyFile))
}
