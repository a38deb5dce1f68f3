//go:build browser

package browser

import (
	"cmp"
	"image"
	"image/color"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// small writes the pictures of a folder again with a palette, which is a third
// of their size.
func small(t *testing.T, from, to string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(to, 0o755))
	files, err := filepath.Glob(filepath.Join(from, "*.png"))
	require.NoError(t, err)
	for _, file := range files {
		in, err := os.Open(file)
		require.NoError(t, err)
		picture, err := png.Decode(in)
		require.NoError(t, err)
		require.NoError(t, in.Close())
		out, err := os.Create(filepath.Join(to, filepath.Base(file)))
		require.NoError(t, err)
		encoder := png.Encoder{CompressionLevel: png.BestCompression}
		require.NoError(t, encoder.Encode(out, flat(picture)))
		require.NoError(t, out.Close())
	}
}

// flat is a picture in its 256 most frequent colours; others become the nearest.
func flat(picture image.Image) image.Image {
	count := map[color.RGBA]int{}
	bounds := picture.Bounds()
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(picture.At(x, y)).(color.RGBA) }
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			count[at(x, y)]++
		}
	}
	often := slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int {
		return cmp.Or(count[b]-count[a], int(a.R)-int(b.R), int(a.G)-int(b.G), int(a.B)-int(b.B))
	})
	palette, index := color.Palette{}, map[color.RGBA]uint8{}
	for _, c := range often[:min(256, len(often))] {
		palette = append(palette, c)
	}
	for c := range count {
		index[c] = uint8(palette.Index(c))
	}
	out := image.NewPaletted(bounds, palette)
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			out.SetColorIndex(x, y, index[at(x, y)])
		}
	}
	return out
}
