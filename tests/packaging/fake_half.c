// A library of the CUDA half that loads where NVIDIA's library that it is linked with is found, and opens nothing.
void fake_cublas(void);
void* sft_open_cuda(int ordinal, int threads, const char* cache) {
  (void)ordinal, (void)threads, (void)cache;
  fake_cublas();
  return 0;
}
