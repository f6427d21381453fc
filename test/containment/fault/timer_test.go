// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestLatenessIsThatOfTheTimeAskedFor(t *testing.T) {
	turns := []turn{{10, 1e6}, {20, 2e6}, {30, 3e6}, {40, 4e6}}
	assert.Equal(t, []float64{2, 3}, lateness(turns, 20, 40))
	assert.Empty(t, lateness(turns, 50, 60))
}
