package deploy_test

import "github.com/klauspost/compress/zstd"

// zstdOf compresses a layer.
func zstdOf(content []byte) []byte {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	return w.EncodeAll(content, nil)
}
