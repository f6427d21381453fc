// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestNumber(t *testing.T) {
	for _, tt := range []struct {
		text string
		want uint64
		ok   bool
	}{
		{"0", 0, true},
		{"18446744073709551615", 1<<64 - 1, true},
		{"18446744073709551616", 0, false},
		{"99999999999999999999", 0, false},
		{"-1", 0, false},
		{"12kB", 0, false},
		{"", 0, false},
	} {
		got, ok := number([]byte(tt.text))
		assert.Equal(t, tt.ok, ok, tt.text)
		assert.Equal(t, tt.want, got, tt.text)
	}
}

func TestNumbersStopsAtWhatIsNoNumber(t *testing.T) {
	var into [4]uint64
	assert.Equal(t, 2, numbers([]byte("  7\t8 x 9"), into[:]))
	assert.Equal(t, [4]uint64{7, 8}, into)
}
