// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOwnerIsAnIDOrAName(t *testing.T) {
	for _, c := range []struct {
		in   string
		want owner
	}{
		{"0", 0},
		{"10001", 10001},
		{"root", 0},
	} {
		o := owner(-1)
		require.NoError(t, o.Set(c.in), c.in)
		assert.Equal(t, c.want, o, c.in)
	}
}

func TestOwnerNobodyHasIsRefused(t *testing.T) {
	for _, in := range []string{"", "-1", "no such user", "99999999999"} {
		o := owner(7)
		require.Error(t, o.Set(in), in)
		assert.Equal(t, owner(7), o, "unchanged")
	}
}
