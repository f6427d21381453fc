// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestEachOfTheGuiltyMustBeContained(t *testing.T) {
	two := culprits{names: map[uint64]string{7: "a.service", 8: "b.service"}}
	assert.False(t, two.all(map[string]int64{"a.service": 1, theInterface: 1}))
	assert.True(t, two.all(map[string]int64{"a.service": 1, "b.service": 2}))
	assert.False(t, culprits{}.all(map[string]int64{theInterface: 1}), "an innocent scenario has nobody to wait for")
	outside := culprits{elsewhere: true}
	assert.False(t, outside.all(map[string]int64{}))
	assert.True(t, outside.all(map[string]int64{theInterface: 1}))
}
