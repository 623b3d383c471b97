import torch,time,sys
torch.set_num_threads(1)
from polymodal.parts.generators.diffusion import ImageDiffusion
def b(heads,dim,layers,patch,dual=0):
    c={"transformer":{"_class_name":"SD3Transformer2DModel","num_attention_heads":heads,"attention_head_dim":dim,"num_layers":layers,"in_channels":3,"out_channels":3,"sample_size":64,"patch_size":patch,"joint_attention_dim":384,"caption_projection_dim":heads*dim,"pooled_projection_dim":384,"pos_embed_max_size":64//patch},
    "scheduler":{"_class_name":"FlowMatchEulerDiscreteScheduler","shift":3.0}}
    return ImageDiffusion(config=c,conditions={"path":"asset:minilm-l6-v2","positions":16},clean=True)
for a in [(6,32,3,8),(8,32,3,8),(6,32,4,8),(6,32,3,16)]:
    g=b(*a);n=sum(p.numel() for p in g.network.parameters());x=torch.randn(64,3,64,64);c=torch.randn(64,16,384);o=torch.optim.AdamW(g.network.parameters());g.train()
    for i in range(4):
        if i==1:s=time.process_time();w=time.time()
        with torch.autocast("cpu",torch.bfloat16): l=g.loss(x[:,None],c).mean() if False else g.loss(x,c).mean()
        o.zero_grad();l.backward();o.step()
    print(a,f"{n/1e6:.2f}M cpu/step {(time.process_time()-s)/3:.2f} wall {(time.time()-w)/3:.2f}",float(l),flush=True)
