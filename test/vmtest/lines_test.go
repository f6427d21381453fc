// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestLinesArriveWhole(t *testing.T) {
	var got []string
	l := &Lines{Line: func(line []byte) { got = append(got, string(line)) }}
	for _, part := range []string{"a", "b\r\nc\n", "", "\nd"} {
		n, err := l.Write([]byte(part))
		assert.NoError(t, err)
		assert.Equal(t, len(part), n)
	}
	assert.Equal(t, []string{"ab", "c", ""}, got, "what has no end yet is no line")
}
