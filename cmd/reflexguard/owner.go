// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os/user"
	"strconv"
)

// owner is the user id of the collector as a flag: a number, or the name of a
// user in the machine's database.
type owner int

// String returns the id.
func (o *owner) String() string { return strconv.Itoa(int(*o)) }

// Type is what help texts call the value.
func (o *owner) Type() string { return "user" }

// Set parses s. A name that looks like a number is a number.
func (o *owner) Set(s string) error {
	if id, err := strconv.ParseUint(s, 10, 31); err == nil {
		*o = owner(id)
		return nil
	}
	u, err := user.Lookup(s)
	if err != nil {
		return err
	}
	id, err := strconv.Atoi(u.Uid)
	if err != nil {
		return fmt.Errorf("user %q has no numeric id: %w", s, err)
	}
	*o = owner(id)
	return nil
}
