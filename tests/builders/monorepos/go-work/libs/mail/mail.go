// Package mail sends it.
package mail

import "github.com/pkg/errors"

// Sent is what came of it.
func Sent() string { return errors.New("sent").Error() }
