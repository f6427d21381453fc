// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPatternsThatProtectNothingAreRefusedByName(t *testing.T) {
	for _, p := range []string{"", "[", "batch/db-*", "kubepods/a/b", "/batch/", "batch/", "/"} {
		_, err := NewSafelist([]string{"ok", p}, "")
		require.Error(t, err, p)
		assert.ErrorContains(t, err, fmt.Sprintf("pattern %q", p))
	}
	_, err := NewSafelist([]string{"db-*", "/batch", "/batch/db-*"}, "")
	require.NoError(t, err)
}
