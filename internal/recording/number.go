// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"encoding/binary"
	"errors"
	"math"
)

// A value of the node is one of these, or the difference from the last whole
// number plus firstDifference.
const (
	codeMissing = iota
	codeBits
	firstDifference
)

// widest bounds the whole numbers that differences are taken of, so that a
// difference and firstDifference always fit.
const widest = 1 << 61

// number is what is remembered of one column of the node within a block.
type number struct {
	power float64 // 10^decimals
	last  int64
}

func newNumber(decimals int) number { return number{power: math.Pow10(decimals)} }

// append writes v: as a difference where it is a whole number of its smallest
// unit, as its bits where it is not.
func (c *number) append(b []byte, v float64) []byte {
	if math.IsNaN(v) {
		return binary.AppendUvarint(b, codeMissing)
	}
	n, ok := c.whole(v)
	if !ok {
		b = binary.AppendUvarint(b, codeBits)
		return binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
	}
	b = binary.AppendUvarint(b, firstDifference+zigzag(n-c.last))
	c.last = n
	return b
}

// whole returns the n for which value(n) is v, bit by bit. Beyond 2^52 rounding
// hides it from one value in a hundred, which is then written as its bits.
func (c *number) whole(v float64) (n int64, ok bool) {
	product := math.RoundToEven(v * c.power)
	if !(math.Abs(product) < widest) {
		return 0, false
	}
	n = int64(product)
	return n, math.Float64bits(c.value(n)) == math.Float64bits(v)
}

func (c *number) value(n int64) float64 { return float64(n) / c.power }

// read reads what append wrote.
func (c *number) read(s *stream) (float64, error) {
	code, err := s.uvarint()
	if err != nil {
		return 0, err
	}
	switch code {
	case codeMissing:
		return math.NaN(), nil
	case codeBits:
		b, err := s.take(8)
		if err != nil {
			return 0, err
		}
		return math.Float64frombits(binary.LittleEndian.Uint64(b)), nil
	}
	c.last += unzigzag(code - firstDifference)
	return c.value(c.last), nil
}

// zigzag makes small numbers of either sign small ones without.
func zigzag(n int64) uint64   { return uint64(n)<<1 ^ uint64(n>>63) }
func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

// stream is one stream of a block being read.
type stream []byte

var errShort = errors.New("a stream ends early")

func (s *stream) uvarint() (uint64, error) {
	v, n := binary.Uvarint(*s)
	if n <= 0 {
		return 0, errShort
	}
	*s = (*s)[n:]
	return v, nil
}

func (s *stream) varint() (int64, error) {
	v, err := s.uvarint()
	return unzigzag(v), err
}

func (s *stream) take(n uint64) ([]byte, error) {
	if n > uint64(len(*s)) {
		return nil, errShort
	}
	b := (*s)[:n]
	*s = (*s)[n:]
	return b, nil
}
